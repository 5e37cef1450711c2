"""What a saved notebook shows of the widgets: one picture each, as it is in the end, escaped and without scripts."""

# ruff: noqa: F811 - fixtures are imported under the names by which tests ask for them

from __future__ import annotations

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert import HTMLExporter
from test_widgets import PROMPT, SITE, _no_real_cache, generator, prompts, scope  # noqa: F401

import inversescope_nb as isn
from inversescope_nb.widgets import ConsistencyPanel, SampleGallery, TokenPicker

VIEW = "application/vnd.jupyter.widget-view+json"
CELLS = (
    "import inversescope_nb as isn\nw = isn.InverseScopeWidget(n=32)\nw",
    "w.invert().wait(120)",
    "w.add_hypothesis(isn.features.contains('<b>'))",
    "picker = isn.widgets.TokenPicker(tokens=['<i>', 'b'])\npicker",
    "picker.position = 0\npicker.shade([0.5, 1.0], label='norm')",
    "isn.widgets.SampleGallery(w.inversion)",
    "display(w)",
)


@pytest.fixture(scope="module")
def notebook():
    """A notebook that was run by a real kernel."""
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in CELLS])
    return NotebookClient(made, timeout=300, kernel_name="python3").execute()


def outputs(notebook, cell: int) -> list:
    return [output["data"] for output in notebook.cells[cell].outputs if output.output_type != "stream"]


def test_a_displayed_widget_is_a_view_and_one_picture_that_follows_what_is_inverted(notebook):
    view, picture = outputs(notebook, 0)
    assert VIEW in view
    assert view["text/html"] == ""
    assert list(picture) == ["text/html"]
    assert "Nothing was inverted yet" not in picture["text/html"]
    assert "effective of 32 samples" in picture["text/html"]
    assert "contains &#x27;&lt;b&gt;&#x27;" in picture["text/html"]
    for later in (1, 2):
        assert outputs(notebook, later) == []


def test_a_second_display_shows_the_same_picture(notebook):
    view, picture = outputs(notebook, 6)
    assert view[VIEW] == outputs(notebook, 0)[0][VIEW]
    assert picture == outputs(notebook, 0)[1]


def test_parts_alone_have_pictures_of_their_own(notebook):
    tokens = outputs(notebook, 3)[1]["text/html"]
    assert "&lt;i&gt;" in tokens
    assert "norm" in tokens
    assert "outline" in tokens.split("&lt;i&gt;")[0]
    assert "effective of 32 samples" in outputs(notebook, 5)[1]["text/html"]


def test_nbconvert_shows_every_picture_once_and_says_nothing_else(notebook):
    html, _ = HTMLExporter().from_notebook_node(notebook)
    assert html.count("effective of 32 samples") == 3  # the widget, the gallery alone, the widget once more
    assert "Nothing was inverted yet" not in html
    assert "InverseScopeWidget(" not in html.replace("isn.InverseScopeWidget(", "").replace(
        '<span class="n">InverseScopeWidget</span><span class="p">(', ""
    )


def test_pictures_are_escaped_and_hold_no_scripts(lm, generator, scope):
    evil = "</div><script>alert(1)</script>"
    picker = TokenPicker(tokens=[evil, "b"], position=0)
    picker.shade([1.0, -2.0], label=evil, unit=evil, diverging=True)
    inversion = isn.invert(lm, generator, PROMPT, site=SITE, bandwidth=1.0, n=32)
    gallery, panel = SampleGallery(inversion), ConsistencyPanel(inversion)
    gallery.rows[0]["tokens"][-1] = evil
    gallery.summary = {**gallery.summary, "prior": evil, "remarks": [evil], "site": evil}
    panel.add(isn.Feature(evil, len))
    panel.chance_note = evil
    scope.model_name = evil
    for widget in (picker, gallery, panel, scope, SampleGallery(), ConsistencyPanel(), TokenPicker()):
        html = widget._repr_mimebundle_()[0]["text/html"]
        assert "<script" not in html
        assert html.count("<div") == html.count("</div>") == 1


def test_nothing_is_published_where_nothing_was_displayed(scope, capsys):
    scope.invert().wait(20)
    assert capsys.readouterr().out == ""
