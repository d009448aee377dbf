"""benchmarks: it runs, its results have the shape the page needs, and exact search is exact.

Peers take no part: they need not be installed.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import curves, data, report
from benchmarks import systems as plugins
from benchmarks.filters import raw_bytes
from benchmarks.filters_beside import CASES, Case
from benchmarks.process import Failed, Process

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "data" / "debian-packages"
SECTIONS = {
    "systems",
    "growth",
    "quantization",
    "ingest",
    "opening",
    "import",
    "overhead",
    "kernels",
    "filters",
    "memory",
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the tool reads /proc")


def bench(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benchmarks", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, cwd=ROOT
    )


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
def results(folder: Path, disk: Path) -> dict[str, Any]:
    file = folder / "result.json"
    done = bench("--data", folder, "--quick", "--no-peers", "--json", file, "--workdir", disk)
    if "is in memory" in done.stderr:
        pytest.skip("the temporary directory is not on a disk")
    assert done.returncode == 0, done.stderr
    assert "recall@10" in done.stdout
    found: dict[str, Any] = json.loads(file.read_text())
    return found


@pytest.mark.slow
def test_has_every_part_and_its_setting(results: dict[str, Any]) -> None:
    assert results.keys() == {"setting", *SECTIONS}
    setting = results["setting"]
    assert setting["quick"] is True
    assert setting["data"] == {
        "name": "synthetic",
        "rows": 500,
        "dim": 32,
        "metric": "cosine",
        "queries": 12,
        "payload": True,
    }
    assert {"python", "vecdb", "numpy", "numba"} <= setting["versions"].keys()
    assert {"processor", "filesystem", "fdatasync_ms"} <= setting["machine"].keys()
    assert {"date", "seed"} <= setting.keys()


@pytest.mark.slow
def test_exact_search_finds_everything(results: dict[str, Any]) -> None:
    methods = {method["name"]: method for method in results["quantization"]["methods"]}
    assert methods["float32"]["settings"]["exact"]["recall"] == 1.0
    assert len(methods) == 11
    assert methods["binary"]["compression"] > methods["binary, 2 bits"]["compression"] > 4
    assert methods["scalar"]["compression"] == 4.0
    for name, method in methods.items():
        if name == "float32":
            continue
        settings = method["settings"]
        assert list(settings) == ["codes only", "x1", "x2", "x4", "default"]
        assert all(0.0 <= one["recall"] <= 1.0 for one in settings.values())
        assert settings["x4"]["recall"] >= settings["x1"]["recall"] - 1e-9
        assert settings["codes only"]["latency_ms"]["runs"] == 12


@pytest.mark.slow
def test_other_parts_have_positive_figures(results: dict[str, Any]) -> None:
    assert results["import"]["loaded_by_import"] == []
    for way in results["ingest"]["ways"].values():
        assert way["points_per_second"]["median"] > 0
    assert results["opening"]["replayed_operations"] == 1
    for case in results["overhead"]["cases"].values():
        assert case["payload on"]["call_us"]["median"] > 0
    assert len(results["kernels"]["gb_per_second"]) == 14
    assert len(results["memory"]["modes"]) == 3


@pytest.mark.slow
def test_leaves_nothing_behind(results: dict[str, Any], disk: Path) -> None:
    assert list(disk.iterdir()) == []


@pytest.mark.slow
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
    assert "| binary, 1 bit" in filled
    assert bench(*arguments).returncode == 0
    assert page.read_text() == filled


@pytest.mark.slow
def test_every_table_of_the_page_exists(results: dict[str, Any], folder: Path) -> None:
    page = folder / "benchmarks.md"
    page.write_text((ROOT / "docs" / "benchmarks.md").read_text())
    done = bench("--json", folder / "result.json", "--markdown", page)
    assert done.returncode == 0, done.stderr
    assert "GB/s" in page.read_text()


@pytest.mark.slow
def test_systems_are_measured_in_every_way(results: dict[str, Any]) -> None:
    section = results["systems"]
    assert set(section["systems"]) == {"vecdb", "vecdb scalar"}
    for one in section["systems"].values():
        assert "failed" not in one
        for point in one["curve"]:
            assert 0.9 <= point["recall"] <= 1.0
            assert 0 < point["p50"] <= point["p99"]
            assert len(point["rounds_p50"]) == 2
        assert one["p50"]["0.99"] > 0
        assert one["build"]["cpu"] >= 0
        assert one["disk_bytes"] > 500 * 32 * 4
        assert one["memory_built"]["RssAnon"] > 0
        assert one["memory_reopened"].keys() == {"RssAnon", "RssFile"}
        assert one["start_seconds"]["median"] > 0
        assert one["busy"]["during"]["searches"] >= 1
        assert one["batch"]["recall"] >= 0.9
    sizes = results["growth"]["sizes"]
    assert [(size["rows"], size["dim"]) for size in sizes] == [(1000, 32), (2000, 32)]
    assert all(size["systems"]["vecdb"]["best_recall"] > 0.9 for size in sizes)


@pytest.mark.slow
def test_works_on_the_example_data_whose_truth_it_has_to_find(disk: Path, tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    done = bench(
        *("--data", EXAMPLE, "--quick", "--only", "systems", "--systems", "vecdb"),
        *("--json", file, "--workdir", disk),
    )
    if "is in memory" in done.stderr:
        pytest.skip("the temporary directory is not on a disk")
    assert done.returncode == 0, done.stderr
    assert json.loads(file.read_text())["systems"]["systems"]["vecdb"]["best_recall"] >= 0.95
    assert list(disk.iterdir()) == []


@pytest.mark.parametrize("metric", data.METRICS)
def test_the_truth_it_finds_is_exact_and_recall_counts_ties(metric: str, folder: Path) -> None:
    vectors = np.load(folder / "base.npy").astype(np.float64)
    queries = np.load(folder / "queries.npy").astype(np.float64)
    if metric == "cosine":
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    scores = queries @ vectors.T
    if metric == "l2":
        scores = -np.square(queries[:, None] - vectors[None]).sum(axis=2)
    best = np.argsort(-scores, axis=1)[:, :10]
    prepared = data.prepared(np.load(folder / "base.npy"), metric)
    asked = data.prepared(np.load(folder / "queries.npy"), metric)
    found = data.exact(prepared, asked, metric, block=64)
    np.testing.assert_allclose(
        np.take_along_axis(scores, found, 1), np.take_along_axis(scores, best, 1), rtol=1e-5
    )
    one = data.Data(folder, metric)
    assert one.recall(best.tolist()) == 1.0
    # Rows 400 to 419 repeat the first twenty: each in the other's place.
    twins = np.where(
        best < 20, best + 400, np.where((best >= 400) & (best < 420), best - 400, best)
    )
    assert one.recall(twins.tolist()) == 1.0
    assert one.recall([[row] * 10 for row in best[:, 0]]) == pytest.approx(0.1)
    worst = np.argsort(scores, axis=1)[:, :10]
    assert one.recall(worst.tolist()) == 0.0


def test_made_up_data_depends_on_its_seed_only(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        data.synthetic(tmp_path / name, 300, 16, 5, seed)
    first, again, other = (np.load(tmp_path / name / "base.npy") for name in "abc")
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_allclose(np.linalg.norm(first, axis=1), 1, rtol=1e-5)


def test_takes_the_first_rows_or_all_again_with_noise(folder: Path, tmp_path: Path) -> None:
    base = data.prepared(np.load(folder / "base.npy"), "cosine")
    data.resized(folder, tmp_path / "few", 30, 1)
    data.resized(folder, tmp_path / "many", 1100, 1)
    few, many = (np.load(tmp_path / name / "base.npy") for name in ("few", "many"))
    np.testing.assert_array_equal(few, base[:30])
    np.testing.assert_array_equal(many[:500], base)
    np.testing.assert_allclose(np.linalg.norm(many, axis=1), 1, rtol=1e-5)
    assert many.shape == (1100, 32)
    near = (many[500:] * np.concatenate([base, base[:100]])).sum(axis=1)
    assert 0.8 < near.mean() < 0.95  # noise half as long: 0.89
    assert not np.array_equal(many[500:600], many[1000:])
    np.testing.assert_array_equal(
        np.load(tmp_path / "many" / "queries.npy"), np.load(folder / "queries.npy")
    )


@pytest.mark.parametrize("case", CASES)
def test_filters_pass_their_share_and_are_new(case: Case) -> None:
    filters = case.some(10_000, 50, np.random.default_rng(1))
    for field, low, high in filters:
        assert field == case.field
        assert 0 <= low < high <= 10_000
        assert 0.95 * case.share <= (high - low) / 10_000 <= case.share
        if case.field == "near":
            assert high == 10_000 if case.far else low == 0
    if case.share > 0.01:
        assert len({tuple(one) for one in filters}) > 25


def test_a_worker_searches_with_filters_and_creates_indexes(folder: Path, tmp_path: Path) -> None:
    one = data.Data(folder)
    path = tmp_path / "fields.json"
    ranks = list(range(500))
    path.write_text(json.dumps({"rank": ranks, "city": [f"city {i % 7}" for i in ranks]}))
    with Process("vecdb", one, tmp_path / "db", [0]) as worker:
        worker.ask("fields", path=str(path), indexed=False)
        worker.ask("ingest")
        worker.ask("build")
        between = [["rank", 100, 120], ["rank", 7, 8]]
        found = worker.ask("find", effort=None, start=0, count=4, between=between)["found"]
        best = data.scored(one.vectors[100:120], one.asked[[0, 2]], "cosine").argmax(axis=1) + 100
        assert [found[0][0], found[2][0]] == best.tolist()
        assert [len(each) for each in found] == [10, 1, 10, 1]
        for _ in range(2):  # it leaves no index behind
            answer = worker.ask("index", effort=None, idle=3)
            assert len(answer["before"]) == 3
            assert min(answer["alone"], answer["seconds"], *answer["during"]) > 0


def test_raw_values_are_numbers_of_eight_bytes_or_text() -> None:
    assert raw_bytes([1, 2, 3]) == 24
    assert raw_bytes(["a", "é"]) == 3


def test_some_parts_leave_the_setting_of_the_page() -> None:
    page = "<!-- bench:begin setting -->\nold\n<!-- bench:end setting -->\n"
    machine = dict.fromkeys(
        ("processor", "processors", "memory_gib", "system", "filesystem", "fdatasync_ms"), "1"
    )
    about = {"name": "x", "rows": 1, "dim": 1, "metric": "dot", "queries": 1}
    setting = {"date": "today", "quick": False, "seed": 1, "versions": {}}
    results: dict[str, Any] = {"setting": {**setting, "machine": machine, "data": about}}
    assert report.fill(page, results) == page
    assert "today" in report.tables(results)["setting"]


@pytest.mark.slow
def test_filters_are_measured_beside_numpy_and_alone(results: dict[str, Any]) -> None:
    section = results["filters"]
    assert len(section["cases"]) == 1 + len(CASES)
    for case in section["cases"]:
        assert case["systems"].keys() == {"vecdb"}
        assert case["systems"]["vecdb"]["recall"] >= 0.9
        assert case["systems"]["vecdb"]["p50"] > 0
    assert section["skipped"].keys() == {"Qdrant Edge scalar", "zvec"}
    assert section["created"]["systems"]["vecdb"]["one core"]["seconds"]["median"] > 0
    assert section["numpy"]["bytes"].keys() == {"rank", "city", "kind"}
    found = report.tables(results)
    assert "| far, 50.0%" in found["filters"]
    assert "`bincount`" in found["filters-numpy"]
    assert "vecdb, all cores" in found["filters-index"]


def test_reads_times_off_a_curve() -> None:
    points = [(0.90, 50.0), (0.96, 80.0), (0.94, 90.0), (0.985, 180.0), (0.985, 200.0)]
    curve = [{"recall": recall, "p50": time, "effort": time} for recall, time in points]
    assert [point["p50"] for point in curves.pareto(curve)] == [50.0, 80.0, 180.0]
    assert curves.at_recall(curve, 0.95) == pytest.approx(50 + 30 * 5 / 6)
    assert curves.at_recall(curve, 0.98) == pytest.approx(80 + 100 * 0.02 / 0.025)
    assert curves.at_recall(curve, 0.5) == 50.0
    assert curves.at_recall(curve, 0.99) is None
    assert curves.usual(curve)["effort"] == 80.0
    assert curves.usual(curve, 0.99)["effort"] == 180.0


def test_every_peer_has_its_module_and_is_in_the_extra() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    extra = project[project.index("bench = [") :].split("]")[0]
    for module, distribution, name in plugins.SYSTEMS.values():
        source = (ROOT / "benchmarks" / "systems" / f"{module}.py").read_text()
        assert f"class {name}(" in source
        assert distribution == "vecdb-embedded" or f'"{distribution}>=' in extra


def test_a_system_that_fails_is_named_and_the_others_go_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(plugins.SYSTEMS, "nowhere", ("vecdb", "vecdb", "Nowhere"))
    worker = Process("nowhere", data.Data(folder), tmp_path / "nowhere", [0])
    with worker, pytest.raises(Failed, match="its process ended: KeyError: 'nowhere'"):
        worker.ask("describe")
    with Process("vecdb", data.Data(folder), tmp_path / "here", [0]) as worker:
        assert worker.ask("ingest")["seconds"] > 0
        with pytest.raises(Failed, match="find: "):
            worker.ask("find", effort="no such effort", start=0, count=1)


def test_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    assert "unknown part" in bench("--data", tmp_path, "--only", "nonsense").stderr
    assert "--data is needed" in bench("--quick").stderr
    done = bench("--data", EXAMPLE, "--systems", "nonsense")
    assert "unknown system 'nonsense'; there are vecdb" in done.stderr
