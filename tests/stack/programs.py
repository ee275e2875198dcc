"""The programs in inside/, which run in containers, as an argument: the engine may not see the files of this machine.

stack.exec("web", *program("processes.py"), "workers")
"""

from pathlib import Path

FOLDER = Path(__file__).with_name("inside")
INTERPRETERS = {".py": ["python", "-c"], ".sh": ["sh", "-c"]}


def source(name: str) -> str:
    return (FOLDER / name).read_text()


def program(name: str) -> list[str]:
    """The command without the arguments of the program, which follow."""
    command = [*INTERPRETERS[Path(name).suffix], source(name)]
    return [*command, name] if name.endswith(".sh") else command  # sh takes the first argument for its own name
