"""Lists and checks the videos of a folder: python -m harmony.clips FOLDER [split=true].

Without a folder it lists the stand-ins that env=natural_background plays when env.clips is null.
The exit code is 2 where a run would refuse the folder: no video in it, or one that can't be read.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from harmony.config.cli import report_errors
from harmony.envs.clips import Clip, check_clips, find_clips, inspect_clip, split_clips
from harmony.errors import ConfigError

USAGE = "python -m harmony.clips [FOLDER] [split=true|false]"
_COLUMNS = ("frames", "size", "fps", "seconds", "use")


def parse(arguments: Sequence[str]) -> tuple[str | None, bool]:
    """Reads the command line.

    Returns:
        The folder, None for the stand-ins, and whether to show the clips shared out.

    Raises:
        ConfigError: more than one folder, or a value that can't be meant.
    """
    split, folders = False, []
    for argument in arguments:
        if argument.startswith("split="):
            if argument not in ("split=true", "split=false"):
                raise ConfigError(f"expected split=true or split=false, got {argument!r}")
            split = argument == "split=true"
        else:
            folders.append(argument)
    if len(folders) > 1:
        raise ConfigError(f"expected one folder, got {len(folders)}; usage: {USAGE}")
    return (folders[0] if folders else None), split


def uses(paths: Sequence[Path], folder: str | None, *, split: bool) -> dict[Path, str]:
    """What each clip is for: train, evaluation, both, or nothing where the split leaves it out.

    Args:
        paths: of all clips.
        folder: where they were found.
        split: as `env.split`.
    """
    if not split:
        return dict.fromkeys(paths, "both")
    sides = zip(("train", "evaluation"), split_clips(paths, folder), strict=True)
    chosen = {path: name for name, side in sides for path in side}
    return {path: chosen.get(path, "nothing") for path in paths}


def table(clips: Sequence[Clip], use: dict[Path, str], folder: str | None) -> list[str]:
    """One line a clip, below a header.

    Args:
        clips: in their order.
        use: what each is for, by path.
        folder: where they were found; names are shown below it.
    """
    names = {clip.path: _name(clip.path, folder) for clip in clips}
    width = max(len(name) for name in ["clip", *names.values()])
    shown = [_line("clip", _COLUMNS, width)]
    for clip in clips:
        if not clip.readable:
            shown.append(f"{names[clip.path]:<{width}}  can't be read")
            continue
        frames = _frames(clip)
        seconds = frames / clip.fps if clip.fps else 0.0
        size = f"{clip.width}x{clip.height}"
        cells = (str(frames), size, f"{clip.fps:.4g}", f"{seconds:.1f}", use[clip.path])
        line = _line(names[clip.path], cells, width)
        cut = f"; cut: its header says {clip.num_frames}" if frames < clip.num_frames else ""
        shown.append(line + cut)
    return shown


def totals(clips: Sequence[Clip], use: dict[Path, str]) -> list[str]:
    """How many clips and frames each side has.

    Args:
        clips: in their order.
        use: what each is for, by path.
    """
    readable = [clip for clip in clips if clip.readable]
    shown = [f"{len(readable)} of {len(clips)} can be read"]
    for name in dict.fromkeys(use.values()):
        mine = [_frames(clip) for clip in readable if use[clip.path] == name]
        shown.append(f"{name}: {len(mine)} clips, {sum(mine)} frames")
    return shown


def _frames(clip: Clip) -> int:
    """Those that can be played."""
    return clip.num_frames if clip.decoded is None else clip.decoded


def _name(path: Path, folder: str | None) -> str:
    return path.name if folder is None else str(path.relative_to(Path(folder).expanduser()))


def _line(name: str, cells: Sequence[str], width: int) -> str:
    frames, size, fps, seconds, use = cells
    return f"{name:<{width}}  {frames:>7}  {size:>9}  {fps:>6}  {seconds:>7}  {use}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; 2 where the user can mend what was wrong."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if set(arguments) & {"-h", "--help"}:
        sys.stdout.write(f"{__doc__}\n{USAGE}\n")
        return 0
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with report_errors() as outcome:
        folder, split = parse(arguments)
        paths = find_clips(folder)
        clips = [inspect_clip(path, count=True) for path in paths]
        readable = [clip.path for clip in clips if clip.readable]
        use = dict.fromkeys(paths, "both") | uses(readable, folder, split=split and bool(readable))
        lines = [*table(clips, use, folder), "", *totals(clips, use)]
        sys.stdout.write("\n".join(lines) + "\n")
        check_clips(paths, folder)
    return outcome.code


if __name__ == "__main__":
    sys.exit(main())
