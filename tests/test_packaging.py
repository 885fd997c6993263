"""The registry's documented rules, and what its scanner would find in the shipped archive."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT_FILE = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
PROJECT, COMFY = PROJECT_FILE["project"], PROJECT_FILE["tool"]["comfy"]

CLASSIFIER_PREFIXES = ("Operating System ::", "Environment :: GPU ::", "Environment :: NPU ::")

# A bare name must not match a method of that name: `model.eval()` is harmless.
FORBIDDEN = {
    "process": r"\bsubprocess\b|\bos\.(system|popen|exec\w*|spawn\w*|fork)\b|\bpty\b",
    "network": r"^\s*(import|from)\s+(requests|urllib|socket|http|httpx|aiohttp|ftplib|websocket)\b",
    "dynamic code": r"(?<![\w.])(eval|exec|compile|__import__)\s*\(",
    "unpickling": r"\b(pickle|cloudpickle|dill|marshal|shelve)\b|\btorch\.load\s*\(|allow_pickle\s*=\s*True",
    "environment": r"\bos\.(environ\s*\[[^\]]*\]\s*=(?!=)|environ\.(update|setdefault|pop)|(un)?putenv)",
}
MACHINE_PATH = re.compile(r"(?<![\w.:/~-])/(?:work|opt|root|home|Users)/\w")


def git_ls_files(*options: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *options], cwd=ROOT, capture_output=True, text=True, check=True)
    return {name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()}


def repository_files() -> set[str]:
    """Files that are committed or would be by `git add --all`."""
    return git_ls_files("--cached", "--others", "--exclude-standard")


def archive_files() -> set[str]:
    """What the registry would ship: the repository without what .comfyignore names."""
    left_out = git_ls_files("--cached", "--others", "--ignored", "--exclude-from=.comfyignore")
    return repository_files() - left_out


def archive_code() -> list[str]:
    return sorted(name for name in archive_files() if name.endswith((".py", ".js")))


# ---- pyproject.toml -----------------------------------------------------------------------------


def test_name_is_one_the_registry_takes() -> None:
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9._-]{0,98}", PROJECT["name"])
    assert "comfyui" not in PROJECT["name"].lower()


def test_version_is_three_numbers() -> None:
    assert re.fullmatch(r"(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}", PROJECT["version"])


def test_description_says_something() -> None:
    assert 20 <= len(PROJECT["description"]) <= 200


def test_license_is_a_table_naming_a_file() -> None:
    assert set(PROJECT["license"]) == {"file"}
    assert "Apache License" in (ROOT / PROJECT["license"]["file"]).read_text("utf-8")


def test_python_floor_is_that_of_the_linter() -> None:
    floor = re.fullmatch(r">=3\.(\d+)", PROJECT["requires-python"])
    assert floor and PROJECT_FILE["tool"]["ruff"]["target-version"] == f"py3{floor[1]}"


def test_classifiers_are_known_to_the_registry() -> None:
    assert PROJECT["classifiers"]
    assert all(line.startswith(CLASSIFIER_PREFIXES) for line in PROJECT["classifiers"])


def test_urls_are_https_and_name_the_repository() -> None:
    assert "Repository" in PROJECT["urls"]
    assert all(url.startswith("https://") for url in PROJECT["urls"].values())


def test_publisher_and_display_name() -> None:
    assert re.fullmatch(r"[a-z0-9][a-z0-9-]*", COMFY["PublisherId"])
    assert COMFY["DisplayName"].strip()


def test_comfyui_floor_has_the_node_api() -> None:
    floor = re.fullmatch(r">=(\d+)\.(\d+)\.(\d+)", COMFY["requires-comfyui"])
    assert floor and tuple(map(int, floor.groups())) >= (0, 3, 75)


def test_pictures_are_urls() -> None:
    assert all(COMFY[key].startswith("https://") for key in ("Icon", "Banner") if key in COMFY)


def test_web_folder_is_left_to_the_pack() -> None:
    # ComfyUI registers `web` under the project's name but looks for help pages under the folder's.
    assert "web" not in COMFY


# ---- requirements.txt ---------------------------------------------------------------------------


def requirements() -> list[str]:
    lines = (ROOT / "requirements.txt").read_text("utf-8").splitlines()
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def test_requirements_equal_the_dependencies() -> None:
    assert requirements() == PROJECT["dependencies"]


def test_requirements_cannot_break_an_installation() -> None:
    for line in requirements():
        assert not re.match(r"(torch|numpy|opencv|transformers|xformers|triton)", line, re.IGNORECASE), line
        assert not re.search(r"==|~=|<", line), f"{line}: only lower bounds"
        assert not re.search(r"://|^-", line), f"{line}: only names from the package index"


# ---- the archive --------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FORBIDDEN)
def test_archive_has_nothing_that_the_scanner_flags(kind: str) -> None:
    pattern = re.compile(FORBIDDEN[kind], re.MULTILINE)
    found = [
        f"{name}:{text.count(chr(10), 0, match.start()) + 1}: {match[0].strip()}"
        for name in archive_code()
        for text in [(ROOT / name).read_text("utf-8")]
        for match in pattern.finditer(text)
    ]
    assert not found, f"{kind} code would be shipped; move it or name it in .comfyignore:\n" + "\n".join(found)


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("process", "import subprocess"),
        ("network", "from urllib import request"),
        ("dynamic code", "value = eval(text)"),
        ("unpickling", "torch.load(path)"),
        ("environment", "os.environ['A'] = '1'"),
    ],
)
def test_scan_sees_what_it_looks_for(kind: str, line: str) -> None:
    assert re.search(FORBIDDEN[kind], line)


@pytest.mark.parametrize("line", ["model.eval()", "re.compile(x)", "os.environ.get('A')", "os.environ['A'] == 'b'"])
def test_scan_passes_harmless_lines(line: str) -> None:
    assert not any(re.search(pattern, line) for pattern in FORBIDDEN.values())


def test_archive_leaves_out_development_files() -> None:
    heads = {name.split("/")[0] for name in archive_files()}
    assert not heads & {"tests", "scripts", "benchmarks", "docs", ".ci"}


def test_archive_holds_the_pack() -> None:
    missing = {
        "__init__.py",
        "LICENSE",
        "NOTICE",
        "README.md",
        "pyproject.toml",
        "requirements.txt",
    } - archive_files()
    assert not missing


def test_archive_imports_only_relatively() -> None:
    """The Manager chooses the folder's name, and the pack is not on Python's path."""
    absolute = re.compile(r"^\s*(?:from|import)\s+(?:avgen_core|nodes\.\w+)\b", re.MULTILINE)
    found = [name for name in archive_code() if absolute.search((ROOT / name).read_text("utf-8"))]
    assert not found


# ---- every file ---------------------------------------------------------------------------------


def test_no_file_names_a_path_of_one_machine() -> None:
    found = []
    for name in sorted(repository_files()):
        try:
            text = (ROOT / name).read_text("utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{name}: {match[0]}" for match in MACHINE_PATH.finditer(text)]
    assert not found


def test_no_weight_file_is_over_15_mb() -> None:
    sizes = {name: (ROOT / name).stat().st_size for name in repository_files()}
    assert {name: size for name, size in sizes.items() if size > 15_000_000} == {}


def test_the_embedded_models_are_within_their_budgets() -> None:
    weights = {path.stem: path.stat().st_size for path in (ROOT / "models" / "demo").glob("*.safetensors")}
    budgets = {
        ("autoencoder", "causal_dit", "text_encoder"): 16_000_000,
        ("art_v", "image_unet"): 10_000_000,
        ("latent_vqvae", "semantic_injection", "token_transformer"): 8_000_000,
        ("upscaler",): 1_500_000,
    }
    assert set(weights) == {name for names in budgets for name in names}
    for names, budget in budgets.items():
        assert sum(weights[name] for name in names) <= budget, names
