"""The images of our pods, as archives in the cache that `python3 -m e2e.kind load` takes.

Each comes from an ordinary Dockerfile; `builders` knows with what it is built here. A build gets
a folder that holds exactly the files of its fingerprint, so it cannot depend on any other file.
Prometheus, and what prometheus-operator consists of, are static programs and need no Dockerfile.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.kind import binaries, builders, cache, image_archive
from e2e.kind.builders import Recipe

_ROOT = Path(__file__).parents[2]
_NOBODY = "65534:65534"
_KEEP_SECONDS = 3600.0  # another run may be on its way from building to loading


def _project(name: str, *builds_with: str) -> Recipe:
    """The image of one of our two projects."""
    return Recipe(
        dockerfile=f"{name}/Dockerfile",
        inputs=(
            "LICENSE",
            *builds_with,
            f"{name}/requirements.txt",
            f"{name}/pyproject.toml",
            f"{name}/src",
        ),
    )


_RECIPES = {
    "operator": _project("operator", "requirements-build.txt"),
    "worker": _project("worker", "worker/requirements-build.txt", "worker/setup.py"),
    "vllm": Recipe(
        dockerfile="e2e/kind/vllm/Dockerfile",
        inputs=("e2e/kind/vllm",),
        keep_layers=False,  # gigabytes
    ),
}

_PROGRAMS = ("prometheus", "prometheus-operator", "prometheus-config-reloader")
"""Images that hold one program of `binaries`, of the same name, and nothing else."""

NAMES = (*_RECIPES, *_PROGRAMS)


def tag(name: str) -> str:
    """What the image `name` is called in the cluster."""
    return f"batchfleet-{name}:dev"


def build(name: str) -> Path:
    """The archive of the image `name`, from the cache or made now. Raises SetupError, KeyError."""
    return _from_program(name) if name in _PROGRAMS else _from_dockerfile(name, _RECIPES[name])


def _from_dockerfile(name: str, recipe: Recipe) -> Path:
    builder = builders.choose()
    with _context(recipe) as context:
        parts: list[str | bytes | Path] = [builder.base, recipe.dockerfile]
        for file in sorted(path for path in context.rglob("*") if path.is_file()):
            parts += [str(file.relative_to(context)), file]

        def make(archive: Path) -> None:
            builder.build(context, recipe, tag(name), archive)
            _remove_older(name, archive)

        artefact = f"images/{name}-{cache.fingerprint(parts)}"
        return cache.artefact(artefact, f"build the image {tag(name)}", make)


def _from_program(name: str) -> Path:
    program = binaries.path(name)

    def make(archive: Path) -> None:
        image_archive.write(
            archive,
            tag(name),
            {f"/bin/{name}": program},
            entrypoint=[f"/bin/{name}"],
            user=_NOBODY,
        )
        _remove_older(name, archive)

    # The program's path holds the fingerprint of what it was compiled from.
    key = cache.fingerprint([str(program), _NOBODY])
    return cache.artefact(f"images/{name}-{key}", f"pack the image {tag(name)}", make)


def _remove_older(name: str, archive: Path) -> None:
    """Remove archives of the image that nobody can be about to load any more."""
    fingerprint = "[0-9a-f]" * 12  # of two images, one's name may begin with the other's
    for older in set(archive.parent.glob(f"{name}-{fingerprint}")) - {archive}:
        if time.time() - older.stat().st_mtime > _KEEP_SECONDS:
            older.unlink()


@contextmanager
def _context(recipe: Recipe) -> Iterator[Path]:
    """A folder with the recipe's files, gone afterwards."""
    not_built_from = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.md", "*.so")
    with tempfile.TemporaryDirectory(prefix="batchfleet-image-") as folder:
        context = Path(folder)
        for item in (recipe.dockerfile, *recipe.inputs):
            source, target = _ROOT / item, context / item
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, target, ignore=not_built_from, dirs_exist_ok=True)
            else:
                shutil.copy2(source, target)
        yield context
