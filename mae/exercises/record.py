"""What the reader has solved: a small file in the user's data folder, which may be missing, damaged or read-only."""

import json
import os
import warnings
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

VERSION = 1


def place() -> Path:
    """The file; the variable MAE_PROGRESS names another one."""
    return Path(os.environ.get("MAE_PROGRESS") or platformdirs.user_data_path("mae-book") / "progress.json")


def solved() -> dict[str, str]:
    """When each solved exercise was first solved, by its id.

    A file that can't be read gives a warning and counts as empty.
    """
    path = place()
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != VERSION:
            warnings.warn(
                f"{path} is of version {content['version']}, this book reads version {VERSION}: "
                "your progress is not shown, and the file is left as it is",
                stacklevel=2,
            )
            return {}
        return {str(id): str(when) for id, when in content["solved"].items()}
    except FileNotFoundError:
        return {}
    except OSError as error:
        warnings.warn(f"your progress can't be read ({error})", stacklevel=2)
    except (ValueError, KeyError, TypeError, AttributeError):
        warnings.warn(f"{path} is damaged: it is kept as {path.name}.damaged, and progress starts anew", stacklevel=2)
        try:
            os.replace(path, path.with_name(path.name + ".damaged"))
        except OSError:
            pass
    return {}


def _foreign(path: Path) -> bool:
    try:
        return json.loads(path.read_text(encoding="utf-8"))["version"] != VERSION
    except (OSError, ValueError, KeyError, TypeError):
        return False


def remember(id: str) -> None:
    """Note that an exercise is solved. If the file can't be written, a warning says so.

    Parameters
    ----------
    id : str
    """
    path = place()
    done = solved()
    if id in done or _foreign(path):
        return
    done[id] = datetime.now(UTC).isoformat(timespec="seconds")
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(json.dumps({"version": VERSION, "solved": done}, indent=1) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True) if path.parent.is_dir() else None
        warnings.warn(f"solved, but your progress can't be saved ({error})", stacklevel=2)
