"""Charts: valid specifications with the right data and encodings, for full, thin and empty input."""

from __future__ import annotations

import doctest
import html
import json
import re
from pathlib import Path
from types import SimpleNamespace

import altair as alt
import numpy as np
import pandas as pd
import pytest

import inversescope_nb as isn
from inversescope_nb import _consistency_charts, _heat_maps, charts
from inversescope_nb.charts import consistency_chart, distance_histogram, information_chart, message, training_chart
from inversescope_nb.features import InputText
from inversescope_nb.reports import COARSE, ROW_COLUMNS, UNRELIABLE, ConsistencyReport

EMPTY = {c: "" if c in ("notes", "verdict_counts") else np.nan for c in ROW_COLUMNS}


def frame(n_layers: int, kinds: list[str], features: list[str], *, heads: int = 0, bandwidths=(0.1,)):
    """A consistency frame whose rate grows with the layer."""
    rows = []
    for bandwidth in bandwidths:
        for layer in range(n_layers):
            places = [(k, None, f"blocks.{layer}.hook_{k}") for k in kinds]
            places += [("z", h, f"blocks.{layer}.attn.hook_z.{h}") for h in range(heads)]
            for kind, head, site in places:
                for i, feature in enumerate(features):
                    rate = 0.3 + 0.1 * layer
                    own = {
                        "fcr": rate,
                        "fcr_low": rate - 0.1,
                        "fcr_high": rate + 0.05,
                        "chance": 0.2 + 0.1 * i,
                        "chance_prior": 0.25,
                        "fcr_star": (rate - 0.2) / 0.8,
                        "q_value": 0.01 if layer else 0.4,
                        "bits": 2.0 + layer,
                    }
                    where = {"site": site, "layer": layer, "kind": kind, "head": head, "bandwidth": bandwidth}
                    rows.append({**EMPTY, **where, "feature": feature, **own})
    return ConsistencyReport(tuple(rows), (), {}).to_frame()


def inversion(n: int = 50, *, n_prior: int = 80, weight: float = 1.0) -> SimpleNamespace:
    """What the charts read of an Inversion."""
    rng = np.random.default_rng(0)
    words = ["<bos>", "Mary", "and", "John", "went"]
    texts = [InputText("Mary and John went", words, (0, 1, 2, 3, i % 7)) for i in range(n)]
    return SimpleNamespace(
        d=np.abs(rng.normal(0.1, 0.03, n)),
        weight=np.full(n, weight / max(n, 1)),
        prior_d=np.abs(rng.normal(1.2, 0.3, n_prior)),
        ball_edge=0.15 if weight else float("nan"),
        site="blocks.1.hook_resid_post",
        bandwidth=0.1,
        samples=[list(t.token_ids) for t in texts],
        texts=texts,
        token_information=lambda: [[0.0, 1.0, -2.0, np.log(2), 0.5] for _ in texts],
    )


def spec(chart: alt.TopLevelMixin) -> dict:
    """The validated specification; NaN in it would not be JSON."""
    found = chart.to_dict()
    json.dumps(found, allow_nan=False)
    return found


def data(found: dict) -> pd.DataFrame:
    """All inline data of a specification."""
    return pd.concat([pd.DataFrame(rows) for rows in found["datasets"].values()], ignore_index=True)


def text_of(found: dict) -> str:
    return json.dumps(found["datasets"])


def test_docstring_examples_run() -> None:
    assert doctest.testmod(charts).failed == 0


# -- consistency -----------------------------------------------------------------------------------


def test_few_sites_are_points_with_whiskers_and_ticks_at_chance() -> None:
    found = spec(consistency_chart(frame(4, ["resid_post"], ["subject"])))
    x = [layer["encoding"]["x"]["field"] for layer in found["layer"]]
    assert x == ["chance", "fcr_low", "fcr"]
    assert found["layer"][1]["encoding"]["x2"]["field"] == "fcr_high"
    assert all(layer["encoding"]["x"].get("scale") == {"domain": [0, 1]} for layer in found["layer"])
    assert found["layer"][2]["encoding"]["y"]["sort"] == [f"blocks.{i}.hook_resid_post" for i in range(4)]
    assert found["title"]["text"] == "Consistency of 'subject'"
    assert data(found)["fcr"].tolist() == pytest.approx([0.3, 0.4, 0.5, 0.6])
    shapes = found["layer"][2]["encoding"]["shape"]["scale"]["range"]
    assert len(set(shapes)) == 2, "colour is not the only channel"


def test_several_features_get_a_panel_each() -> None:
    found = spec(consistency_chart(frame(3, ["resid_post"], ["subject", "order"])))
    assert found["facet"]["field"] == "feature"
    assert found["facet"]["sort"] == ["subject", "order"]


def test_three_panels_fit_in_a_notebook() -> None:
    converter = pytest.importorskip("vl_convert", reason="drawing needs vl-convert-python")

    def pixels(sites: pd.DataFrame, **more: int) -> float:
        svg = converter.vegalite_to_svg(consistency_chart(sites, **more).to_json())
        return float(re.search(r'width="([\d.]+)"', svg)[1])

    three = frame(4, ["resid_post"], ["ones digit of sum", "carry", "first_digit"])
    assert 780 < pixels(three) < 848, "as wide as a cell on a projector, beside the list of files"
    assert pixels(three.assign(site="a" + three["site"])) <= pixels(three) + 6, "longer labels, narrower panels"
    assert pixels(three, width=600) > 3 * 400, "of the width that was asked for"


def test_several_bandwidths_get_a_row_each() -> None:
    found = spec(consistency_chart(frame(2, ["resid_post"], ["subject"], bandwidths=(0.1, 0.3))))
    assert data(found)["row"].nunique() == 4
    assert "blocks.0.hook_resid_post  (bandwidth 0.3)" in set(data(found)["row"])


def test_a_single_inversion_shows_the_priors_chance_instead() -> None:
    one = frame(1, ["resid_post"], ["subject"]).assign(chance=np.nan)
    found = spec(consistency_chart(one))
    assert found["layer"][0]["encoding"]["x"]["field"] == "chance_prior"


def test_many_sites_are_a_heat_map_in_the_order_of_the_forward_pass() -> None:
    chart = consistency_chart(frame(3, ["resid_post", "resid_pre", "attn_out"], ["subject"], heads=11))
    found = spec(chart)
    rect, dots = found["layer"]
    assert rect["mark"]["type"] == "rect"
    assert rect["encoding"]["color"]["scale"] == {"range": _heat_maps.BLUES, "domain": [0, 1], "clamp": True}
    assert rect["encoding"]["color"]["legend"]["title"] == "above chance"
    assert found["title"]["subtitle"] == "0 %: as by chance; 100 %: every sample agrees"
    order = rect["encoding"]["x"]["sort"]
    assert order == ["resid_pre", *[f"z {h}" for h in range(11)], "attn_out", "resid_post"]
    assert "0.05" in dots["transform"][0]["filter"]
    assert "sort" not in rect["encoding"]["y"], "the first layer above, as on the widget's map"


def test_heads_are_called_so_under_a_heat_map() -> None:
    converter = pytest.importorskip("vl_convert", reason="drawing needs vl-convert-python")
    chart = consistency_chart(frame(3, ["resid_post", "zeal 2"], ["subject"], heads=2), heatmap=True)
    drawn = re.findall(r">(resid_post|(?:head|z|zeal) \d+)</text>", converter.vegalite_to_svg(chart.to_json()))
    assert drawn == ["head 0", "head 1", "resid_post", "zeal 2"]


def test_heat_maps_split_by_feature_and_bandwidth() -> None:
    found = spec(consistency_chart(frame(2, ["resid_post"], ["a", "b"], bandwidths=(0.1, 0.2)), heatmap=True))
    assert found["facet"]["column"]["field"] == "feature"
    assert found["facet"]["row"]["field"] == "bandwidth"


@pytest.mark.parametrize(
    "nothing",
    [
        pd.DataFrame(),
        ConsistencyReport((), (), {}).to_frame(),
        pd.DataFrame({"site": ["a"]}),
        frame(1, ["resid_post"], ["a"]).assign(fcr=np.nan),
    ],
)
def test_nothing_to_show_is_said_in_words(nothing) -> None:
    for heatmap in (None, True, False):
        found = spec(consistency_chart(nothing, heatmap=heatmap))
        assert found["mark"]["type"] == "text"
        assert text_of(found).count(".") == 1


def test_rows_without_an_estimate_do_not_break_the_others() -> None:
    some = frame(3, ["resid_post"], ["a"])
    some.loc[1, ["fcr", "fcr_low", "fcr_high", "chance", "fcr_star", "q_value"]] = np.nan
    for heatmap in (True, False):
        assert len(data(spec(consistency_chart(some, heatmap=heatmap)))) == 3


def test_charts_do_not_change_their_frame() -> None:
    given = frame(2, ["resid_post"], ["a"])
    before = given.copy(deep=True)
    consistency_chart(given)
    information_chart(given)
    pd.testing.assert_frame_equal(given, before)


def test_hostile_names_stay_data() -> None:
    found = spec(consistency_chart(frame(1, ["resid_post"], ["</script>'; datum", "b"])))
    assert "</script>'; datum" in set(data(found)["feature"])
    assert "script" not in json.dumps(found["spec"]["layer"])


# -- distances -------------------------------------------------------------------------------------


def test_bars_are_weighted_shares_beside_the_priors_with_the_ball_edge() -> None:
    found = spec(distance_histogram(inversion()))
    table = data(found)
    shares = table.groupby("series")["share"].sum()
    assert shares["posterior"] + shares["posterior, beyond the edge"] == pytest.approx(1)
    assert shares["P(X) alone"] == pytest.approx(1)
    beyond = table[table["series"] == "posterior, beyond the edge"]
    assert ((beyond["from"] + beyond["to"]) / 2 > 0.15).all()
    assert table.loc[table["name"].notna(), ["d", "name"]].to_numpy().tolist() == [[0.15, "edge of the ball 0.15"]]
    assert found["layer"][0]["encoding"]["y"]["title"] == "share of weight"
    assert "standardised units" in found["layer"][0]["encoding"]["x"]["title"]


def test_bars_follow_the_weights() -> None:
    one = inversion(n_prior=0)
    one.d, one.weight = np.linspace(0, 1, 50), np.r_[np.full(49, 0.1 / 49), 0.9]
    table = data(spec(distance_histogram(one, bins=10)))
    assert table.sort_values("from").dropna(subset="share")["share"].iloc[-1] > 0.9
    assert set(table["series"].dropna()) == {"posterior", "posterior, beyond the edge"}


def test_the_label_of_the_edge_stands_above_the_bars() -> None:
    found = spec(distance_histogram(inversion()))
    _, top = found["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert top == pytest.approx(1.2 * data(found)["share"].max())
    label = found["layer"][-1]
    assert (label["mark"]["type"], label["encoding"]["y"]) == ("text", {"value": 0})
    assert label["mark"]["align"] == "left"
    assert spec(distance_histogram(inversion(n_prior=0)))["layer"][-1]["mark"]["align"] == "right", "else it is cut"


def test_without_an_edge_all_of_the_posterior_is_inside() -> None:
    one = inversion()
    one.ball_edge = float("nan")
    found = spec(distance_histogram(one))
    assert set(data(found)["series"].dropna()) == {"posterior", "P(X) alone"}
    assert "rule" not in [layer["mark"]["type"] for layer in found["layer"]]


def test_infinite_distances_and_missing_weights_do_not_raise() -> None:
    one = inversion()
    one.d[:10] = np.inf
    spec(distance_histogram(one))
    for broken in (inversion(weight=0.0), inversion(n=0, n_prior=0)):
        assert spec(distance_histogram(broken))["mark"]["type"] == "text"
    same = inversion(n_prior=0)
    same.d[:] = 0.0
    spec(distance_histogram(same))


# -- information -----------------------------------------------------------------------------------


def test_bits_run_over_layers_with_a_line_per_component() -> None:
    found = spec(information_chart(frame(3, ["resid_post", "mlp_out"], ["a", "b"])))
    assert len(data(found)) == 6, "features share their samples: one point each"
    encoding = found["layer"][0]["encoding"]
    assert encoding["color"]["scale"]["domain"] == ["mlp_out", "resid_post"]
    assert "(bits)" in encoding["y"]["title"]
    assert spec(information_chart(pd.DataFrame()))["mark"]["type"] == "text"
    many = spec(information_chart(frame(2, ["resid_post"], ["a"], heads=8)))
    assert many["mark"]["type"] == "rect", "nine lines would be a tangle"


def test_tokens_of_distinct_samples_are_shaded_in_bits() -> None:
    found = spec(information_chart(inversion()))
    table = data(found)
    assert table["sample"].max() == 7, "seven distinct samples"
    assert table.loc[table["position"] == 3, "bits"].unique().tolist() == pytest.approx([1.0]), "ln 2 is a bit"
    low, middle, high = found["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert (low, middle) == (-high, 0)
    assert spec(information_chart(inversion(weight=0.0)))["mark"]["type"] == "text"


# -- drawing ---------------------------------------------------------------------------------------


def test_trainings_are_shown_one_after_the_other() -> None:
    point = {"step": 10, "loss": 1.0, "nll": 9.0, "nll_prior": 12.0, "bits": 4.3}
    first = {"config": {"batch_size": 32}, "examples_seen": 640, "history": [point, {**point, "step": 20, "nll": 8.0}]}
    later = {
        "config": {"batch_size": 16}, "examples_seen": 800, "went_on_from": first,
        "history": [{**point, "nll": 7.0, "gap_clean": 0.2}],
    }  # fmt: skip
    table = training_chart(later).data
    with_activation = table[table["curve"] == "with its activation, noised"]
    assert with_activation["examples"].tolist() == [320, 640, 640 + 160]
    assert with_activation["nats"].tolist() == [9.0, 8.0, 7.0]
    assert table.loc[table["curve"] == "gap, clean activation", "nats"].tolist() == [0.2]
    assert not (table["curve"] == "gap, half the noise").any()
    assert training_chart({}).to_dict()["mark"]["type"] == "text"
    packaged = isn.load_generator()
    assert len(training_chart(packaged).data) == len(training_chart(packaged.run_card).data) > 10


def test_a_heat_map_of_few_columns_has_no_title_wider_than_itself() -> None:
    def title(kinds: list[str]) -> str | None:
        found = spec(consistency_chart(frame(3, kinds, ["subject"]), heatmap=True))
        return found["layer"][0]["encoding"]["x"]["title"]

    assert title(["resid_post"]) is None
    assert title([f"kind_{i}" for i in range(12)]) == "component"


def test_heat_maps_have_the_blue_of_the_map_of_the_model() -> None:
    source = Path(__file__).parents[1] / "js" / "src"
    light, dark = (source / "isn.css").read_text().split("}")[:2]
    assert f"--isn-pin: {_heat_maps.MAP_BLUE};" in light
    of_dark = re.search(r"--isn-pin: (#\w+);", dark)[1]
    assert f'["{_heat_maps.MAP_BLUE}", "{of_dark}"]' in (source / "chart.ts").read_text()
    channels = [int(_heat_maps.MAP_BLUE[i : i + 2], 16) for i in (1, 3, 5)]
    assert [re.findall(r"[\d.]+", colour) for colour in _heat_maps.BLUES] == [
        [*map(str, channels), opacity] for opacity in ("0.04", "1")
    ]
    bits = spec(information_chart(frame(2, ["resid_post"], ["a"], heads=8)))
    assert bits["encoding"]["color"]["scale"] == {"range": _heat_maps.BLUES, "zero": True}


def test_cells_are_as_large_as_there_is_room_for() -> None:
    def side(n_kinds: int, *features: str, layers: int = 3) -> int:
        kinds = [f"kind_{i}" for i in range(n_kinds)]
        found = spec(consistency_chart(frame(layers, kinds, features), heatmap=True))
        return (found if "width" in found else found["spec"])["width"]["step"]

    assert side(9, "a") == side(9, "a", layers=12) == 40
    assert side(9, "a", "b") == 31
    assert side(24, "a") == 23
    assert side(9, "a", layers=16) == 30
    assert side(24, "a", "b") == side(60, "a") == side(9, "a", layers=40) == 20


def half_failed() -> pd.DataFrame:
    """Rates at three sites, of which none, three eighths and half of the inversions failed."""
    notes = ["", f"{UNRELIABLE}: of 8 inversions 3", f"{UNRELIABLE}: of 8 inversions 4"]
    return frame(3, ["resid_post"], ["subject"]).assign(notes=notes)


def test_cells_of_which_many_inversions_failed_have_an_edge_below_the_frame_of_what_is_chosen() -> None:
    found = spec(consistency_chart(half_failed(), heatmap=True, select=True))
    edges, cells, _ = found["layer"]
    assert f"indexof(datum.notes || '', '{UNRELIABLE}') === 0" in edges["transform"][0]["calculate"]
    assert edges["transform"][1] == {"filter": "datum.doubt !== ''"}
    assert edges["encoding"]["stroke"]["scale"]["range"] == [_heat_maps.OCHRE]
    assert edges["mark"]["strokeDash"]
    assert cells["mark"]["type"] == "rect"
    assert "opacity" not in cells["encoding"], "they keep their colour"
    assert cells["encoding"]["stroke"]["condition"][0]["value"] == _consistency_charts.VERMILION
    assert doctest.testmod(_consistency_charts).failed == 0


def test_points_that_are_not_to_be_relied_on_look_otherwise() -> None:
    def marks(rates: pd.DataFrame) -> list[str]:
        return spec(consistency_chart(rates))["layer"][-1]["encoding"]["color"]["scale"]["domain"]

    doubted = _consistency_charts.DOUBTED
    assert marks(half_failed()) == [_consistency_charts.RATE, doubted, _consistency_charts.CHANCE]
    assert doubted not in marks(half_failed().assign(notes=""))
    calculated = spec(consistency_chart(half_failed()))["layer"][-1]["transform"][0]["calculate"]
    assert calculated.startswith(f"indexof(datum.notes || '', '{UNRELIABLE}') === 0 ? ")


def test_a_heat_map_has_a_key_of_the_marks_that_are_on_it() -> None:
    converter = pytest.importorskip("vl_convert", reason="drawing needs vl-convert-python")

    def key(rates: pd.DataFrame) -> list[str]:
        svg = html.unescape(converter.vegalite_to_svg(consistency_chart(rates, heatmap=True).to_json()))
        marks = (_heat_maps.IN_DOUBT, _heat_maps.UNRESOLVED, _heat_maps.TOLD)
        return [mark for mark in marks if f">{mark}</text>" in svg]

    rates = half_failed()
    assert key(rates) == [_heat_maps.IN_DOUBT, _heat_maps.TOLD]
    assert key(rates.assign(notes="")) == [_heat_maps.TOLD]
    assert key(rates.assign(notes="", q_value=0.4)) == []
    coarse = f"Only 4 picks count. {COARSE}: one direction holds 90 % of it."
    assert key(rates.assign(notes=["", coarse, ""], q_value=0.4)) == [_heat_maps.UNRESOLVED]
    both = rates.assign(notes=["", coarse, rates["notes"][2]])
    assert key(both) == [_heat_maps.IN_DOUBT, _heat_maps.UNRESOLVED, _heat_maps.TOLD]
    assert key(rates.assign(notes=rates["notes"] + coarse)) == [
        _heat_maps.IN_DOUBT,
        _heat_maps.UNRESOLVED,
        _heat_maps.TOLD,
    ]


def test_three_heat_maps_in_two_columns_have_an_axis_each() -> None:
    rates = frame(4, ["resid_pre", "resid_mid", "resid_post", "mlp_out", "attn_out"], ["a", "b", "c"])
    three = spec(consistency_chart(rates, heatmap=True))
    assert three["columns"] == 2
    assert three["resolve"] == {"axis": {"x": "independent"}}, "else the place of the fourth has one"
    assert "resolve" not in spec(consistency_chart(rates[rates["feature"] != "c"], heatmap=True))


def test_a_cell_of_the_heat_map_can_be_chosen() -> None:
    sites = frame(3, ["resid_post", "mlp_out"], ["subject", "verb"], heads=2)
    assert "params" not in spec(consistency_chart(sites, heatmap=True))
    for part in (sites, sites[sites["feature"] == "verb"]):
        chart = consistency_chart(part, heatmap=True, select=True)
        selection, framed = spec(chart)["params"]
        assert selection["name"] == "site"
        assert selection["select"]["fields"] == ["site", "feature"]
        assert framed == {"name": "chosen", "value": ""}
        assert isn.Chart(chart)._vl_selections == {"site": {"value": None, "store": []}}
        assert isn.Chart(consistency_chart(part, heatmap=True, select=True, chosen="x"))._params == {"chosen": "x"}


def test_every_chart_draws() -> None:
    converter = pytest.importorskip("vl_convert", reason="drawing needs vl-convert-python")
    drawn = [
        consistency_chart(frame(4, ["resid_post"], ["subject"])),
        consistency_chart(frame(2, ["resid_post"], ["a", "b", "c", "d"])),
        consistency_chart(frame(2, ["resid_post"], ["a", "b"], heads=8, bandwidths=(0.1, 0.2))),
        consistency_chart(frame(2, ["resid_post"], ["a", "b"]), heatmap=True, select=True),
        distance_histogram(inversion()),
        information_chart(frame(3, ["resid_post"], ["a"], bandwidths=(0.1, 0.2))),
        information_chart(inversion()),
        training_chart(
            {"history": [{"step": 1, "nll": 3.0, "nll_prior": 4.0}, {"step": 2, "nll": 2.0, "nll_prior": 4.0}]}
        ),
        message("nothing"),
    ]
    for chart in drawn:
        svg = converter.vegalite_to_svg(chart.to_json())
        assert svg.startswith("<svg")
        assert "NaN" not in svg


def test_a_cell_without_a_rate_above_chance_is_an_outline():
    converter = pytest.importorskip("vl_convert", reason="drawing needs vl-convert-python")
    rates = frame(3, ["resid_post"], ["sum"])
    rates.loc[1:, "fcr_star"] = np.nan  # as where chance is 1
    svg = converter.vegalite_to_svg(consistency_chart(rates, heatmap=True).to_json())
    cells = re.findall(r'<path[^>]*"rect mark"[^>]*>', svg)
    assert len(cells) == 3
    assert [" fill=" in cell for cell in cells] == [True, False, False], "the picture's own default is no fill"
    assert '<g fill="none"' in svg


def sweep_frame(bandwidths: tuple[float, ...]) -> pd.DataFrame:
    rates = {("a", "f"): 0.9, ("a", "g"): 0.2, ("b", "f"): 0.4, ("b", "g"): 0.3}
    return pd.DataFrame(
        {**EMPTY, "site": site, "feature": feature, "bandwidth": b, "fcr": r, "fcr_star": r, "bits": 3.0}
        for (site, feature), r in rates.items()
        for b in bandwidths
    )


def test_a_linked_chart_shows_the_best_site_first_and_a_menu_where_there_are_several_bandwidths():
    converter = pytest.importorskip("vl_convert", reason="drawing needs vl-convert-python")
    for bandwidths in ((0.1,), (0.1, 0.3)):
        spec = charts.linked_chart(sweep_frame(bandwidths)).to_dict()
        params = {param["name"]: param for param in spec["params"]}
        assert params["chosen_site"]["value"] == [{"site": "a"}]
        assert params["chosen_bandwidth"]["value"] == 0.1
        assert ("bind" in params["chosen_bandwidth"]) is (len(bandwidths) > 1)
        (rows,) = spec["datasets"].values()
        assert len(rows) == 4 * len(bandwidths)
        assert "<svg" in converter.vegalite_to_svg(json.dumps(spec))
    assert charts.linked_chart(pd.DataFrame()).to_dict()["mark"]["type"] == "text"
