"""The experiments beside the tables: the exact field, radii, geometry, held-out choices."""

import runpy

import numpy as np
import pytest
from running import EXPERIMENTS, one_line, places, rows, run

from wtflow_jax.flow.maps import MAPS
from wtflow_jax.lab.store import FILE

QUICK = "--smoke", "--image-size", 64


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.mark.long
def test_the_exact_field_trains_nothing(tmp_path, cache):
    out = tmp_path / "exact"
    assert run("exact_field", *QUICK, *places(out), "--cache", cache) == 0
    (texture,) = rows(out)
    assert "-whiten-exact-" in texture["model"]
    assert texture["loss"] is None
    assert texture["image_auroc_std"] == texture["pixel_auroc_std"] == 0
    assert texture["image_auroc"] == texture["history"][-1]["image_auroc"]
    assert [p.name for p in (tmp_path / "models" / texture["model"]).iterdir()] == [FILE]
    assert (out / "texture" / "maps.png").exists()


@pytest.mark.long
def test_what_a_network_learns(tmp_path, cache):
    out, own = tmp_path / "learned", ("--velocity", "patch", "--start", 0, "--no-residual")
    assert run("learned", *QUICK, *own, *places(out), "--cache", cache) == 0
    found = rows(out)
    assert [row["variant"] for row in found] == list(MAPS)
    for row in found:
        assert all(np.isfinite(loss) and loss > 0 for loss in row["losses"].values())
        assert set(row["unexplained"]) == {"training", "good", "defective", "farthest"}
        for fields in row["unexplained"].values():
            assert all(np.isfinite(values).all() for values in fields.values())


@pytest.mark.long
def test_how_wide_a_network_must_be(tmp_path, cache):
    out = tmp_path / "narrow"
    assert run("narrow", *QUICK, *places(out), "--cache", cache) == 0
    found = rows(out)
    assert [row["variant"] for row in found] == list(MAPS)
    for row in found:
        c = row["channels"]
        assert [int(width) for width in row["widths"]] == [c * k // 8 for k in (1, 2, 4, 6, 8)]
        losses = [figures["loss"] for figures in row["widths"].values()]
        assert np.isfinite(losses).all()
        assert len(set(losses)) == 5
    assert (out / "narrow.png").stat().st_size > 10_000


@pytest.mark.long
def test_a_family_of_exact_fields(tmp_path, cache):
    out = tmp_path / "family"
    assert run("family", *QUICK, "--epochs", 1, *places(out), "--cache", cache) == 0
    found = {row["variant"]: row["model"] for row in rows(out)}
    assert len(found) == 5
    assert [model.split("-")[1:3] for model in found.values()] == [
        *(["whiten", "gaussian"], ["whiten", "exact"], ["none", "exact"], ["none", "gaussian"]),
        ["layer_norm", "unet"],
    ]
    assert (out / "family.png").stat().st_size > 10_000


@pytest.mark.long
def test_a_patch_velocity_trains(tmp_path, cache):
    out = tmp_path / "patch"
    flags = "--velocity", "patch", "--wt", "whiten", *QUICK, *places(out), "--cache", cache
    assert run("mvtec", *flags) == 0
    (texture,) = rows(out)
    assert texture["history"][-1]["loss"] < texture["history"][0]["loss"]
    assert 0 <= texture["pixel_auroc"] <= 100


@pytest.mark.long
def test_radii_of_every_map(tmp_path, cache):
    out = tmp_path / "radial"
    assert run("radial", *QUICK, *places(out), "--cache", cache) == 0
    (texture,) = rows(out)
    for wt in ("none", "batch_norm", "layer_norm"):
        assert len(texture[wt]["good"]) == 11
        assert 0 <= texture[wt]["observation_2_share"] <= 1
    # Lemma 5.
    assert texture["layer_norm"]["good"][0] == pytest.approx(texture["sqrt_d"], rel=0.01)
    assert {path.name for path in (out / "texture").iterdir()} == {
        "radial.png",
        "activations.png",
        "histograms.png",
    }


@pytest.mark.long
def test_geometry_of_a_field(tmp_path, cache):
    out = tmp_path / "geometry"
    assert run("geometry", "--velocity", "patch", *QUICK, *places(out), "--cache", cache) == 0
    (texture,) = rows(out)
    assert -1 <= texture["start"]["cosine of v and −x0"] <= 1
    times = texture["times"]
    assert all(a <= 1.01 * b for a, b in zip(times["exact, space"], times["bound"], strict=True))


@pytest.mark.long
def test_what_training_images_decide(tmp_path, cache, capsys):
    out = tmp_path / "held_out"
    flags = *QUICK, *places(out), "--cache", cache
    assert run("held_out", *flags) == 0
    (texture,) = rows(out)
    assert all(np.isfinite(value) for value in texture["alpha"].values())
    ratios = [part["square"] / part["unscaled"] for part in texture["moments"].values()]
    # One scale for all.
    assert ratios == pytest.approx([ratios[0]] * 3)
    capsys.readouterr()
    assert run("held_out", "--wt", "none", *places(tmp_path / "x"), "--cache", cache) == 1
    message = one_line(capsys.readouterr().err)
    assert "--wt none: held_out.py needs whiten" in message


@pytest.mark.long
def test_what_training_images_say_of_pooling(tmp_path, cache):
    out = tmp_path / "pooling"
    # At 64 pixels most of the weights give the same maps.
    flags = "--velocity", "exact", "--wt", "whiten", "--smoke", *places(out), "--cache", cache
    assert run("pooling", *flags) == 0
    (texture,) = rows(out)
    assert list(texture["pooling"]) == ["0.1", "0.03", "0.01", "0.003", "0.001", "0.0"]
    assert all(0 <= value <= 100 for value in texture["pooling"].values())
    assert len(set(texture["pooling"].values())) > 2


def test_pasting_moves_a_block_of_another_map():
    maps = np.arange(4 * 12 * 15).reshape(4, 12, 15, 1) + np.zeros((1, 1, 1, 2))
    paste = runpy.run_path(str(EXPERIMENTS / "pooling.py"))["paste"]
    pasted = paste(maps, np.random.default_rng(0))
    assert pasted.shape == maps.shape
    for i, (before, after) in enumerate(zip(maps, pasted, strict=True)):
        changed = (before != after).all(-1)
        y, x = np.nonzero(changed)
        block = after[y.min() : y.max() + 1, x.min() : x.max() + 1, 0]
        assert block.size == changed.sum() <= 1.5 * 0.05 * 180
        # Pasted cells stay neighbours and come from one other map.
        assert (np.diff(block, axis=1) == 1).all()
        owners = set((block // 180).ravel())
        assert len(owners) == 1
        assert owners != {i}


@pytest.mark.long
def test_what_each_choice_of_the_default_is_worth(tmp_path, cache):
    out = tmp_path / "rules"
    flags = "--smoke", "--image-size", 64, *places(out), "--cache", cache
    assert run("rules", *flags) == 0
    found = {row["variant"]: row for row in rows(out)}
    assert len(found) == 17
    assert found["auto"]["settings"] == {}
    settings = found["the default before"]["settings"]
    assert (settings["velocity"], settings["top_fraction"]) == ("exact", "0.03")
    assert found["highest pixel"]["pixel_auroc"] == found["auto"]["pixel_auroc"]
    assert found["the last stage alone"]["pixel_auroc"] != found["auto"]["pixel_auroc"]
