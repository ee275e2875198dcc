"""Settings of hypothesis for all tests: every run has the same examples, and no machine is too slow for them.

A run with new examples: `pytest --hypothesis-profile=search`.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeat", max_examples=200, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", deadline=None, max_examples=5000, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("repeat")
