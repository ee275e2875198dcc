"""Hardening of the containers of this stack: its database, and nginx and web with other settings."""

import pytest

from tests.stack import hardening
from tests.stack.stack import Stack


@pytest.mark.parametrize("rule", hardening.RULES)
@pytest.mark.parametrize("service", ["nginx", "web", "gunicorn", "db"])
def test_a_container_keeps_the_hardening_rules(production: Stack, service: str, rule: str) -> None:
    hardening.check(production, service, rule)
