"""Foreign software that must be fetched or built before it can be attached: once, and kept below `XMPP_CACHE`.

What cannot be had here, for want of a tool, is skipped with the tool's name, which the table of `make test` shows as not run.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("XMPP_CACHE", Path.home() / ".cache/xmpp-cluster")) / "interop"
#: Seconds that a registry or a compiler may take.
PATIENCE = 600


def need(*tools):
    """Skips where a tool is missing."""
    for tool in tools:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")


def run(*command, cwd=None, env=None, tries=1):
    """Runs a command; a registry may be slow to answer, so there may be several tries."""
    for left in reversed(range(tries)):
        done = subprocess.run(
            [str(part) for part in command], cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode == 0:
            return done.stdout
        if left:
            time.sleep(2)  # not for a condition of ours: a registry is given time
    raise AssertionError(f"{command}: {done.stdout[-2000:]}{done.stderr[-2000:]}")


def made(name, sources, make):
    """The directory that `make(directory)` filled from these files, or did in an earlier run."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(source.name.encode() + b"\0" + source.read_bytes())
    place = CACHE / f"{name}-{digest.hexdigest()[:16]}"
    if not place.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=CACHE) as directory:
            growing = Path(directory) / name
            growing.mkdir()
            for source in sources:
                shutil.copy(source, growing)
            make(growing)
            growing.rename(place)
    return place


def npm(folder):
    """The scripts of a folder beside their packages."""
    need("node", "npm")
    sources = sorted(path for path in folder.iterdir() if path.is_file())
    return made(folder.name, sources, lambda place: run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", cwd=place, tries=3))


def maven(folder):
    """The class path of a folder with a pom.xml and Java sources, compiled."""
    need("mvn", "javac", "java")

    def make(place):
        run("mvn", "-q", "-B", "dependency:build-classpath", "-Dmdep.outputFile=class-path", cwd=place, tries=3)
        path = (place / "class-path").read_text()
        run("javac", "-nowarn", "-cp", path, "-d", "classes", *(source.name for source in place.glob("*.java")), cwd=place)

    place = made(folder.name, sorted(folder.iterdir()), make)
    return f"{place / 'classes'}:{(place / 'class-path').read_text()}"


def cargo(folder):
    """The program of a crate."""
    need("cargo")
    name = folder.name
    sources = [folder / "Cargo.toml", folder / "Cargo.lock", folder / "src/main.rs"]

    def make(place):
        (place / "src").mkdir()
        (place / "main.rs").rename(place / "src/main.rs")
        target = {"CARGO_TARGET_DIR": str(CACHE / "target"), "CARGO_BUILD_BUILD_DIR": str(CACHE / "target")}
        run("cargo", "fetch", "--locked", cwd=place, tries=3)
        run("cargo", "build", "--locked", "--quiet", cwd=place, env=target)
        shutil.copy(CACHE / f"target/debug/{name}-bot", place / "bot")

    return made(name, sources, make) / "bot"


def compiled(source, library):
    """The program of a file of C with a library that pkg-config knows."""
    need("cc", "pkg-config")
    if subprocess.run(["pkg-config", "--exists", library]).returncode:
        pytest.skip(f"{library} is not installed")

    def make(place):
        flags = run("pkg-config", "--cflags", "--libs", library).split()
        run("cc", "-Wall", "-o", "bot", source.name, *flags, cwd=place)

    return made(library, [source], make) / "bot"
