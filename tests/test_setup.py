"""The set-up: what is installed, from what, and what is said where something is missing."""

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import detectron2_patches as patches  # noqa: E402
import install_detectron2 as installer  # noqa: E402


def requirements() -> list[Requirement]:
    """All requirements of setup.py, extras included, read as text: its quoted strings with a version bound."""
    text = (ROOT / "setup.py").read_text()
    return [Requirement(r) for r in re.findall(r'^    "([A-Za-z0-9-]+[>=<].*?)",', text, flags=re.MULTILINE)]


def pins() -> dict[str, list[Version]]:
    found: dict[str, list[Version]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            found.setdefault(pin.name.lower(), []).append(Version(str(pin.specifier).removeprefix("==")))
    return found


def run_python(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("package", ["engine", "modeling", "data"])
def test_import_without_detectron2_names_the_command_that_installs_it(package):
    done = run_python("-c", f"import sys; sys.modules['detectron2'] = None; import mtl_d2.{package}")
    assert done.returncode == 1
    assert "ImportError: mtl_d2 needs detectron2" in done.stderr
    assert "`python tools/install_detectron2.py`" in done.stderr
    assert (ROOT / "tools" / "install_detectron2.py").is_file()


def test_a_folder_named_detectron2_is_not_taken_for_detectron2(tmp_path):
    (tmp_path / "detectron2").mkdir()
    path = [str(tmp_path), str(ROOT)]
    done = run_python(
        "-I", "-S", "-c", f"import sys; sys.path[:0] = {path}; import mtl_d2.data"
    )  # without site-packages
    assert "ImportError: mtl_d2 needs detectron2" in done.stderr


def test_importing_the_package_loads_neither_detectron2_nor_torch():
    done = run_python("-c", "import mtl_d2, sys; print({'detectron2', 'torch'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr


def test_pseudo_labels_can_be_imported_before_anything_else():
    done = run_python("-c", "from mtl_d2.pseudo_labels.folder import attach")
    assert done.returncode == 0, done.stderr


def test_constraints_are_within_the_bounds_of_setup():
    pinned = pins()
    assert len(requirements()) >= 15
    for requirement in requirements():
        for version in pinned[requirement.name.lower()]:
            assert version in requirement.specifier, f"{requirement} excludes the tested {version}"


def test_every_requirement_has_a_lower_bound():
    for requirement in requirements():
        assert any(s.operator == ">=" for s in requirement.specifier), requirement


def test_notice_has_the_licence_of_every_requirement():
    known = set(re.split(r"[\s,()]+", (ROOT / "NOTICE").read_text().lower()))
    names = {requirement.name.lower() for requirement in requirements()}
    assert len(names) > 20
    assert {"pytorch" if name == "torch" else name for name in names} <= known


def test_torch_and_torchvision_are_pinned_as_a_pair():
    assert pins()["torch"] == [Version("2.11.0")]
    assert pins()["torchvision"] == [Version("0.26.0")]


def test_another_sdist_is_refused(tmp_path):
    path = tmp_path / installer.SDIST
    path.write_bytes(b"not the release")
    with pytest.raises(installer.InstallError, match=hashlib.sha256(b"not the release").hexdigest()):
        installer.build(path, tmp_path / "wheels")
    assert not (tmp_path / "wheels").exists()


def test_a_missing_sdist_is_one_line_with_the_mend(tmp_path):
    options = ["--wheel-dir", str(tmp_path), "--sdist", str(tmp_path / "absent.tar.gz")]
    done = run_python("tools/install_detectron2.py", *options)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "absent.tar.gz: No such file or directory. Give the path" in done.stderr


def test_a_patch_applies_to_each_of_its_files():
    files = {"detectron2/a.py": b"x = np.bool\n", "detectron2/b.py": b"y = np.bool\n"}
    patch = patches.Patch("NumPy 1.24", ("a.py", "b.py"), r"\bnp\.(bool)\b", r"\1")
    assert patches.apply_patches(files, [patch]) == {"detectron2/a.py": b"x = bool\n", "detectron2/b.py": b"y = bool\n"}


@pytest.mark.parametrize("content", [b"nothing to replace\n", None])
def test_a_patch_that_does_not_apply_is_refused(content):
    files = {} if content is None else {"detectron2/a.py": content}
    with pytest.raises(patches.PatchError, match=r"detectron2/a\.py: the patch for 'NumPy 1\.24' does not apply"):
        patches.apply_patches(files, [patches.Patch("NumPy 1.24", ("a.py",), r"np\.bool", "bool")])


def test_the_same_files_give_the_same_wheel_whatever_their_order(tmp_path):
    files = {"detectron2/__init__.py": b"", "detectron2/a.py": b"x = 1\n"}
    first = installer.write_wheel(files, tmp_path / "first")
    second = installer.write_wheel(dict(reversed(files.items())), tmp_path / "second")
    assert first.read_bytes() == second.read_bytes()
    record = zipfile.ZipFile(first).read(f"{installer.DIST_INFO}/RECORD").decode()
    assert "detectron2/__init__.py,sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n" in record  # of no bytes


def test_pins_are_for_packages_that_are_not_installed():
    constraints = "# comment\nPyTest==0.1\nnot_installed_anywhere==1.0\n"
    assert installer.open_pins(constraints, installer.installed_pins()) == ["not_installed_anywhere==1.0"]


def test_installed_packages_are_held_at_their_version():
    assert installer.installed_pins()["pytest"] == f"pytest=={pytest.__version__}"
