"""Figures say in numbers what they show."""
import csv
import io

from spikeproof import plots
from spikeproof.pages import save_figures


def rows_of(drawn):
    assert drawn.startswith("<?xml") and drawn.rstrip().endswith("</svg>")
    return list(csv.DictReader(io.StringIO(drawn.data)))


def test_points_with_bars_and_a_front():
    runs = [{"run": name, "memory_bits": bits, "accuracy": reached, "accuracy_sd": sd, "float": name == "f"}
            for name, bits, reached, sd in (("a", 1000, 0.5, 0.01), ("b", 2000, 0.8, 0.0), ("f", 64_000, 0.75, 0.02))]
    rows = rows_of(plots.accuracy_memory(runs))
    assert {row["panel"] for row in rows} == {"test accuracy, % over memory of the model, kbit"}
    assert [(row["x"], row["y"]) for row in rows if row["series"] == "Pareto front"] == [("1", "50"), ("2", "80")]
    points = [(float(row["x"]), float(row["y"]), float(row["error"])) for row in rows if row["error"]]
    assert points == [(1, 50, 1), (2, 80, 0), (64, 75, 2)]


def test_bars_and_places_with_names():
    rows = rows_of(plots.bars([("net", [1.5, 2.0]), ("other", [0.25, 4.0])], "MB", ["weights", "membranes"]))
    assert [(row["series"], row["y"], row["x"]) for row in rows] == [
        ("weights", "net", "1.5"), ("weights", "other", "0.25"), ("membranes", "net", "2"), ("membranes", "other", "4")]
    rows = rows_of(plots.setting([("half_up", 0.5), ("floor", 0.25), ("half_up", 0.75)], "rounding"))
    assert [(row["series"], row["x"], row["y"]) for row in rows] == [
        ("", "half_up", "50"), ("", "floor", "25"), ("", "half_up", "75"), ("mean", "half_up", "62.5"), ("mean", "floor", "25")]


def test_curves_images_and_marks():
    rows = rows_of(plots.lines({"a": [(1, 2.0), (2, 4.0)], "b": [(1, 1 / 3)]}, "steps", "error"))
    assert [(row["series"], row["x"], row["y"]) for row in rows] == [("a", "1", "2"), ("a", "2", "4"), ("b", "1", "0.3333333333")]
    rows = rows_of(plots.raster([[[3], [0]]], {"conv1": [[0, 5], [], [2]]}, 3))
    assert [(row["panel"], row["series"], row["x"], row["y"]) for row in rows] == [
        ("input", "image, value 3", "0", "0"), ("input", "image, value 0", "1", "0"),
        ("conv1", "", "0", "0"), ("conv1", "", "0", "5"), ("conv1", "", "2", "2")]


def test_files_of_figures_replace_older_ones(tmp_path):
    (tmp_path / "old.svg").write_text("x")
    (tmp_path / "notes.txt").write_text("kept")
    save_figures(tmp_path, [{"name": "a", "svg": "<svg/>", "csv": "x\n"}])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.svg", "notes.txt"]
