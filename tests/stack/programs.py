"""The programs in inside/, which run in containers: in ours as an argument, because the engine need not see our files.

stack.exec("web", *program("processes.py"), "workers")
"""

from pathlib import Path

FOLDER = Path(__file__).with_name("inside")
INTERPRETERS = {".py": ["python", "-c"], ".sh": ["sh", "-c"]}


def source(name: str) -> str:
    return (FOLDER / name).read_text()


def program(name: str) -> list[str]:
    """The beginning of a command; its arguments follow."""
    command = [*INTERPRETERS[Path(name).suffix], source(name)]
    return [*command, name] if name.endswith(".sh") else command  # sh takes the first argument for its own name
