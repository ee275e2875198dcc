"""Prints the queries of Grafana dashboards as recording rules, so that `promtool check rules` can parse them.

python scripts/dashboard_rules.py monitoring/grafana/dashboards/*.json | promtool check rules
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def queries(dashboard: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the title and the expression of each query, with a value in place of Grafana's own variable."""
    for annotation in dashboard["annotations"]["list"]:
        yield annotation["name"], annotation["expr"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield panel["title"], target["expr"].replace("$__rate_interval", "1m")


def main() -> None:
    rules = [
        {"record": f"query:{number}", "expr": expression, "labels": {"where": title}}
        for path in sys.argv[1:]
        for number, (title, expression) in enumerate(queries(json.loads(Path(path).read_text())))
    ]
    if not rules:
        sys.exit("these files contain no query; name the files of dashboards")
    print(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))  # JSON is valid YAML


if __name__ == "__main__":
    main()
