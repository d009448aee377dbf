"""tools/bench.py: it runs, its results have the shape the page needs, and exact search is exact."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / "tools"
SECTIONS = {"quantization", "ingest", "opening", "import", "overhead", "kernels", "memory"}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tool reads /proc")


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOLS / "bench.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=240)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """500 vectors around a few centres, some of them twice, and payload."""
    path = tmp_path_factory.mktemp("bench") / "synthetic"
    path.mkdir()
    random = np.random.default_rng(7)
    centres = random.standard_normal((8, 32))
    base = centres[random.integers(0, 8, 500)] + random.standard_normal((500, 32))
    base[400:420] = base[:20]
    queries = base[random.integers(0, 500, 12)] + 0.3 * random.standard_normal((12, 32))
    unit = base / np.linalg.norm(base, axis=1, keepdims=True)
    scores = queries @ unit.T
    np.save(path / "base.npy", base.astype(np.float32))
    np.save(path / "queries.npy", queries.astype(np.float32))
    np.save(path / "gt_cosine.npy", np.argsort(-scores, kind="stable")[:, :100].astype(np.int32))
    with gzip.open(path / "payload.jsonl.gz", "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"row": i}) + "\n" for i in range(500))
    return path


@pytest.fixture(scope="module")
def workdir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def results(folder: Path, workdir: Path) -> dict[str, Any]:
    file = folder / "result.json"
    done = bench("--data", folder, "--quick", "--no-peers", "--json", file, "--workdir", workdir)
    if "is in memory" in done.stderr:
        pytest.skip("the temporary directory is not on a disk")
    assert done.returncode == 0, done.stderr
    assert "recall@10" in done.stdout
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_has_every_part_and_its_setting(results: dict[str, Any]) -> None:
    assert results.keys() == {"setting", *SECTIONS}
    setting = results["setting"]
    assert setting["quick"] is True
    assert setting["data"] == {
        "name": "synthetic",
        "rows": 500,
        "dim": 32,
        "queries": 12,
        "payload": True,
    }
    assert {"python", "vecdb", "numpy", "numba"} <= setting["versions"].keys()
    assert {"processor", "filesystem", "fdatasync_ms"} <= setting["machine"].keys()
    assert {"date", "seed"} <= setting.keys()


def test_exact_search_finds_everything(results: dict[str, Any]) -> None:
    methods = {method["name"]: method for method in results["quantization"]["methods"]}
    assert methods["float32"]["settings"]["exact"]["recall"] == 1.0
    assert len(methods) == 9
    assert methods["binary"]["compression"] == 4 * 32 / 8  # codes are whole words
    assert methods["scalar"]["compression"] == 4.0
    for name, method in methods.items():
        if name == "float32":
            continue
        settings = method["settings"]
        assert list(settings) == ["codes only", "x1", "x2", "x4", "default"]
        assert all(0.0 <= one["recall"] <= 1.0 for one in settings.values())
        assert settings["x4"]["recall"] >= settings["x1"]["recall"] - 1e-9
        assert settings["codes only"]["latency_ms"]["runs"] == 12


def test_other_parts_have_positive_figures(results: dict[str, Any]) -> None:
    assert results["import"]["loaded_by_import"] == []
    for way in results["ingest"]["ways"].values():
        assert way["points_per_second"]["median"] > 0
    assert results["opening"]["replayed_operations"] == 1
    for case in results["overhead"]["cases"].values():
        assert case["payload on"]["call_us"]["median"] > 0
    assert len(results["kernels"]["gb_per_second"]) == 7
    assert len(results["memory"]["modes"]) == 3


def test_leaves_nothing_behind(results: dict[str, Any], workdir: Path) -> None:
    assert list(workdir.iterdir()) == []


def test_fills_the_tables_of_a_page(results: dict[str, Any], folder: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    names = ["setting", "quantization/synthetic", "quantization/other", "kernels"]
    text = "".join(
        f"{name}:\n<!-- bench:begin {name} -->\nold\n<!-- bench:end {name} -->\n" for name in names
    )
    page.write_text(text)
    arguments = ("--json", folder / "result.json", "--markdown", page)
    assert bench(*arguments).returncode == 0
    filled = page.read_text()
    assert filled.count("old") == 1  # the other data set's
    assert "| product x64" in filled
    assert "| hamming, 48-byte rows" in filled
    assert bench(*arguments).returncode == 0
    assert page.read_text() == filled


def test_every_table_of_the_page_exists(results: dict[str, Any], folder: Path) -> None:
    page = folder / "benchmarks.md"
    page.write_text((TOOLS.parent / "docs" / "benchmarks.md").read_text())
    done = bench("--json", folder / "result.json", "--markdown", page)
    assert done.returncode == 0, done.stderr
    assert "GB/s" in page.read_text()


def test_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    assert "unknown part" in bench("--data", tmp_path, "--only", "nonsense").stderr
    assert "--data is needed" in bench("--quick").stderr
