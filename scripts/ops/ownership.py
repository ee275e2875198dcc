"""Which copy of this folder a stack and its photos belong to.

To the engine, two folders with the same COMPOSE_PROJECT_NAME are one stack: the second one would replace the containers
of the first, and read and delete its photos. Compose records the folder on each container. Volumes outlive containers,
and the engine does not record which folder made them. So there is an additional, empty volume that has the folder as a
label: every copy can read it, and changing it affects no photo.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from . import database, engine, programs
from .console import Failure, explain, is_confirmed, warn

if TYPE_CHECKING:
    from .settings import Settings

FOLDER = "uploadstack.folder"  # the label
UNKNOWN = "unknown"


def another_copy(settings: Settings) -> str:
    """Return the folder of another copy that made containers of this project name; nothing if there is none."""
    template = f'{{{{.Label "{engine.LABEL}.project.working_dir"}}}}'
    project = f"--filter=label={engine.LABEL}.project={settings.project}"
    folders = programs.output(["docker", "ps", "--all", project, "--format", template]).splitlines()
    return next((folder for folder in folders if _is_another(folder, settings)), "")


def refuse_another_copy(settings: Settings) -> None:
    if folder := another_copy(settings):
        raise Failure(f"{belongs_to(settings, folder)}; {another_name(settings)}. Nothing was changed")


def belongs_to(settings: Settings, folder: str) -> str:
    return f"the stack {settings.project} belongs to the folder {folder}, another copy of this one"


def another_name(settings: Settings) -> str:
    return f"set COMPOSE_PROJECT_NAME in {settings.file} to another name (and use other ports)"


def _is_another(folder: str, settings: Settings) -> bool:
    """Whether it is a different copy. A folder that no longer exists was moved here, or deleted."""
    return (Path(folder) / "compose.yaml").exists() and not Path(folder).samefile(settings.root)


# --- photos and rows --------------------------------------------------------------------------------------------------


def volumes(settings: Settings) -> list[str]:
    """Return the volumes of the stack, without the one that records the folder."""
    return [name for name in engine.volumes(settings.project) if name != _note(settings)]


def note_folder(settings: Settings) -> None:
    if noted_folder(settings) == str(settings.root):
        return
    forget_folder(settings)
    labels = {
        FOLDER: settings.root,
        f"{engine.LABEL}.project": settings.project,
        f"{engine.LABEL}.volume": "folder",
    }
    options = [f"--label={name}={value}" for name, value in labels.items()]
    done = programs.attempt(["docker", "volume", "create", *options, _note(settings)])
    if done.returncode:
        raise Failure(f"the engine cannot make the volume {_note(settings)}: {done.stderr.strip()}")


def forget_folder(settings: Settings) -> None:
    programs.succeeds(["docker", "volume", "rm", _note(settings)])


def noted_folder(settings: Settings) -> str:
    template = f'{{{{index .Labels "{FOLDER}"}}}}'
    return programs.output(["docker", "volume", "inspect", "--format", template, _note(settings)])


def owner_of_volumes(settings: Settings) -> str:
    """Return the other copy that the volumes belong to; nothing if they are this folder's, or there are none.

    UNKNOWN if an earlier version made them, and nothing shows that it was in this folder.
    """
    if not volumes(settings):
        return ""
    folder = noted_folder(settings)
    if not folder:
        # If there are containers, they are this folder's: see refuse_another_copy.
        is_ours = database.note(settings).exists() or engine.ids(settings.project)
        return "" if is_ours else UNKNOWN
    return folder if _is_another(folder, settings) else ""


def take_over_volumes(settings: Settings) -> None:
    """Ask or warn before the stack is started on volumes that this folder did not make."""
    owner, name = owner_of_volumes(settings), settings.project
    if owner == UNKNOWN:
        warn(
            f"this folder did not make the volumes of the stack {name}, and takes over their photos and rows. If they"
            f" belong to another copy, press Ctrl-C and {another_name(settings)}"
        )
    elif owner:
        explain(
            f"The photos and rows of the stack {name} belong to the folder {owner}, another copy of this one.\n"
            "If you continue, this copy takes them over, and commands in the other folder refuse this stack from then"
            f" on.\nTo give this copy a stack of its own, {another_name(settings)}."
        )
        if not is_confirmed(settings.environment):
            raise Failure("nothing was changed; to let this folder take them over: YES=1")


def _note(settings: Settings) -> str:
    return f"{settings.project}_folder"
