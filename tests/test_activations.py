"""Captured activations add up, do not depend on batching or padding, and patches change what they say."""

from __future__ import annotations

import gc
import threading
import time

import pytest
import torch
from conftest import GROUPED_QUERIES, N_HEADS, N_LAYERS, POST_NORM, WORDS, tiny_model, word_tokenizer

from inversescope_nb._readers import pieces_of
from inversescope_nb.activations import activations_of_ids, capture, patch, scale
from inversescope_nb.checks import check_architecture
from inversescope_nb.errors import BadPrompt, Cancelled, InvalidArgument, NotFinite, OutOfMemory, UnsupportedModel
from inversescope_nb.models import load_model
from inversescope_nb.reading import in_memory
from inversescope_nb.token_rows import TOKENS_PER_BATCH, TokenRows

PROMPTS = ["the cat", "John and Mary gave the book to the dog", "Paris is in France .", "what is 1 + 2 ="]


def close(a, b):
    return torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def hook_counts(model):
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]


def has_mid(lm):
    return lm.architecture.layout.mid is not None


# --- every architecture -------------------------------------------------------------------------------


def test_parts_add_up_to_the_residual_stream(any_lm):
    values = any_lm.activations(PROMPTS, any_lm.sites(kinds=any_kinds(any_lm)))
    for layer in range(N_LAYERS):
        at = {kind: values[f"blocks.{layer}.{hook}"] for kind, hook in WHOLE.items()}
        close(at["pre"] + at["attn"] + at["mlp"], at["post"])
        if has_mid(any_lm):
            mid = values[f"blocks.{layer}.hook_resid_mid"]
            close(at["pre"] + at["attn"], mid)
            close(mid + at["mlp"], at["post"])
        if layer:
            assert torch.equal(at["pre"], values[f"blocks.{layer - 1}.hook_resid_post"])


WHOLE = {"pre": "hook_resid_pre", "attn": "hook_attn_out", "mlp": "hook_mlp_out", "post": "hook_resid_post"}


def any_kinds(lm):
    return ["resid_pre", "attn_out", "mlp_out", "resid_post"] + (["resid_mid"] if has_mid(lm) else [])


def test_head_results_and_bias_add_up_to_the_attention_output(any_lm):
    for layer in range(N_LAYERS):
        heads = [f"blocks.{layer}.attn.hook_result.{head}" for head in range(N_HEADS)]
        raw = f"blocks.{layer}.attn.hook_out"
        values = any_lm.activations(PROMPTS, [*heads, raw])
        projection = any_lm.architecture.module(layer, any_lm.architecture.layout.out_proj)
        bias = getattr(projection, "bias", None)
        close(sum(values[head] for head in heads) + (0 if bias is None else bias.detach()), values[raw])


def test_head_result_is_z_through_its_rows_of_the_output_matrix(any_lm):
    values = any_lm.activations(PROMPTS, ["blocks.1.attn.hook_z.2", "blocks.1.attn.hook_result.2"])
    projection = any_lm.architecture.module(1, any_lm.architecture.layout.out_proj)
    weight = projection.weight.detach()
    weight = weight if type(projection).__name__ == "Conv1D" else weight.T  # [n_heads * d_head, d_model]
    rows = weight[2 * any_lm.d_head : 3 * any_lm.d_head]
    close(values["blocks.1.attn.hook_z.2"] @ rows, values["blocks.1.attn.hook_result.2"])


def test_heads_are_cut_at_head_borders(any_lm):
    """At the first position attention sees one token, so heads that share keys and values share z."""
    z = any_lm.activations(PROMPTS, [f"z.1.{head}" for head in range(N_HEADS)], position=0)
    z = list(z.values())
    grouped = any_lm.architecture_name in GROUPED_QUERIES
    assert torch.allclose(z[0], z[1]) == grouped
    assert torch.allclose(z[2], z[3]) == grouped
    assert not torch.allclose(z[1], z[2])


def test_raw_output_and_contribution_differ_exactly_where_a_norm_stands_between(any_lm):
    pairs = [
        ("blocks.1.attn.hook_out", "blocks.1.hook_attn_out"),
        ("blocks.1.mlp.hook_out", "blocks.1.hook_mlp_out"),
    ]
    values = any_lm.activations(PROMPTS, [name for pair in pairs for name in pair])
    for raw, added in pairs:
        assert torch.equal(values[raw], values[added]) == (any_lm.architecture_name not in POST_NORM)


def test_padding_side_and_batch_size_do_not_matter(any_lm):
    sites = any_lm.sites()
    batch = any_lm.encode(PROMPTS)
    one_by_one = any_lm.activations(PROMPTS, sites, batch_size=1)
    together = activations_of_ids(any_lm, batch.token_ids, batch.lengths, sites)
    shifts = (batch.token_ids.shape[1] - batch.lengths).tolist()
    left_ids = torch.stack([row.roll(shift) for row, shift in zip(batch.token_ids, shifts, strict=True)])
    left = activations_of_ids(any_lm, left_ids, batch.lengths, sites, padding_side="left")
    for name in sites:
        close(together[name], one_by_one[name])
        close(left[name], one_by_one[name])


def test_tokens_after_the_position_do_not_matter(any_lm):
    long = any_lm.encode(PROMPTS[1]).token_ids
    sites = any_lm.sites()
    cut = any_lm.activations(long[:, :5], sites)
    whole = any_lm.activations(long, sites, position=4)
    for name in sites:
        close(cut[name], whole[name])


def test_patching_puts_the_value_there_and_leaves_other_positions(any_lm):
    ids = any_lm.encode(PROMPTS[1])
    kinds = ["resid_pre", "resid_post", "attn_out", "mlp_out"] + (["resid_mid"] if has_mid(any_lm) else [])
    for name in [*any_lm.sites("blocks.1.*", kinds=kinds), "blocks.1.attn.hook_z.2"]:
        value = torch.randn(any_lm.site(name).d)
        before = all_positions(any_lm, ids, name)
        with patch(any_lm, {name: value}, position=3):
            after = all_positions(any_lm, ids, name)
            post = all_positions(any_lm, ids, "resid_post.1")
        close(after[0, 3], value)
        keep = [i for i in range(after.shape[1]) if i != 3]
        close(after[:, keep], before[:, keep])
        assert not torch.allclose(post[0, 3], all_positions(any_lm, ids, "resid_post.1")[0, 3])
        close(all_positions(any_lm, ids, name), before)


def all_positions(lm, batch, name):
    with torch.no_grad(), capture(lm, [name]) as seen:
        lm.model(batch.token_ids)
    return seen[name]


def test_a_patched_head_moves_the_residual_stream_by_the_change_of_its_result(any_lm):
    names = ["blocks.0.attn.hook_out", "blocks.0.attn.hook_result.1"]
    before = any_lm.activations(PROMPTS, names)
    with scale(any_lm, {"blocks.0.attn.hook_z.1": 0.0}):
        after = any_lm.activations(PROMPTS, names)
    close(before[names[0]] - before[names[1]], after[names[0]])
    close(after[names[1]], torch.zeros_like(after[names[1]]))


def test_only_the_blocks_needed_run_and_never_the_vocabulary_logits(any_lm):
    ran = []
    heads = [m for m in any_lm.model.modules() if getattr(m, "out_features", None) == any_lm.vocab_size]
    assert heads
    watched = [*enumerate(any_lm.architecture.blocks), *[("logits", head) for head in heads]]
    handles = [m.register_forward_hook(lambda *_, name=name: ran.append(name)) for name, m in watched]
    try:
        any_lm.activations("the cat", "resid_post.0")
        assert ran == [0]
        any_lm.activations("the cat", "resid_pre.1")
        assert ran == [0, 0]
        any_lm.activations("the cat", ["resid_post.1", "resid_pre.0"])
        assert "logits" not in ran
    finally:
        for handle in handles:
            handle.remove()


def test_hooks_are_gone_even_after_an_exception(any_lm):
    before = hook_counts(any_lm.model)
    for context in (capture(any_lm, any_lm.sites()), patch(any_lm, dict.fromkeys(any_lm.sites(), 0.0))):
        with pytest.raises(ZeroDivisionError), context:  # noqa: PT012
            assert hook_counts(any_lm.model) != before
            raise ZeroDivisionError
        assert hook_counts(any_lm.model) == before
    any_lm.activations("the cat", any_lm.sites())
    assert hook_counts(any_lm.model) == before


def test_a_stopped_forward_pass_leaves_the_models_own_recording_intact(any_lm):
    ids = any_lm.encode("the cat is in").token_ids
    with torch.no_grad():
        before = any_lm.model(ids, output_hidden_states=True).hidden_states
        any_lm.activations("the cat", "resid_pre.1")
        after = any_lm.model(ids, output_hidden_states=True).hidden_states
    assert len(before) == len(after) == N_LAYERS + 1
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    last = any_lm.activations(ids, ["resid_pre.0", "resid_pre.1"])
    close(last["resid_pre.0"], before[0][:, -1])
    close(last["resid_pre.1"], before[1][:, -1])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_check_tolerates_half_precision(any_lm, dtype):
    half = tiny_model(any_lm.architecture_name).to(dtype)
    lm = load_model((half, word_tokenizer()))
    assert lm.dtype == dtype
    assert lm.activations("the cat", "resid_post.1")["blocks.1.hook_resid_post"].dtype == torch.float32


# --- one architecture ---------------------------------------------------------------------------------


def test_the_check_refuses_a_map_that_does_not_add_up():
    """A layer norm after the sum (the old OPT-350m) means that nothing adds up to the residual stream."""
    from conftest import tiny_config
    from transformers import AutoModelForCausalLM

    config = tiny_config("opt")
    config.do_layer_norm_before = False
    with pytest.raises(UnsupportedModel, match="does not satisfy"):
        load_model((AutoModelForCausalLM.from_config(config), word_tokenizer()))


def test_the_check_refuses_a_wrong_layout(lm):
    from dataclasses import replace

    wrong = load_model((lm.model, lm.tokenizer), check=False)
    wrong.architecture = replace(lm.architecture, layout=replace(lm.architecture.layout, mid="input_layernorm"))
    with pytest.raises(UnsupportedModel, match="resid_mid"):
        check_architecture(wrong)


def test_activations_come_in_input_order_as_float32_on_the_cpu(lm):
    site = "blocks.1.hook_resid_post"
    values = lm.activations(PROMPTS, site)[site]
    assert values.dtype == torch.float32
    assert values.device.type == "cpu"
    for i, prompt in enumerate(PROMPTS):
        close(values[i], lm.activations(prompt, site)[site][0])


def test_one_position_per_prompt(lm):
    site = "blocks.0.hook_resid_post"
    values = lm.activations(PROMPTS, site, position=[1, -1, 0, 3])[site]
    for i, position in enumerate([1, -1, 0, 3]):
        close(values[i], lm.activations(PROMPTS[i], site, position=position)[site][0])


@pytest.mark.parametrize("position", [99, -99, 1.5, [0, 0, 0]])
def test_a_position_outside_the_prompt_is_refused(lm, position):
    with pytest.raises(InvalidArgument, match="position"):
        lm.activations(PROMPTS, "resid_post.0", position=position)


def test_activations_can_be_used_in_training(lm):
    batch = lm.encode(PROMPTS)
    values = activations_of_ids(lm, batch.token_ids, batch.lengths, ["resid_post.0"])["blocks.0.hook_resid_post"]
    layer = torch.nn.Linear(lm.d_model, 1)
    layer(values).sum().backward()
    assert layer.weight.grad is not None


def test_dropout_is_off_and_the_training_flags_come_back():
    model = tiny_model("gpt2")
    model.config.resid_pdrop = 0.5
    lm = load_model((model, word_tokenizer()))
    model.train()
    model.transformer.h[0].eval()
    flags = [m.training for m in model.modules()]
    first, second = (lm.activations(PROMPTS, "resid_post.1") for _ in range(2))
    assert torch.equal(*first.values(), *second.values())
    assert [m.training for m in model.modules()] == flags


def test_the_model_is_left_as_it_was(lm):
    state = {name: value.clone() for name, value in lm.model.state_dict().items()}
    config = lm.model.config.to_dict()
    lm.activations(PROMPTS, lm.sites())
    with patch(lm, {"resid_mid.0": 0.0}):
        lm.logits(PROMPTS)
    assert lm.model.config.to_dict() == config
    assert all(torch.equal(value, state[name]) for name, value in lm.model.state_dict().items())
    assert not any(p.grad is not None for p in lm.model.parameters())


def test_capture_gives_every_position_of_a_users_own_forward_pass(lm):
    batch = lm.encode("the cat is in the park")
    with capture(lm, ["resid_post.0", "z.0.1"]) as seen:
        lm.model(batch.token_ids)
    assert seen["blocks.0.hook_resid_post"].shape == (1, 7, lm.d_model)
    assert seen["blocks.0.attn.hook_z.1"].shape == (1, 7, lm.d_head)


def test_patching_by_a_function_and_one_position_per_row(lm):
    batch = lm.encode(PROMPTS)
    with patch(lm, {"resid_post.1": lambda old: -old}, position=batch.lengths - 1):
        flipped = lm.activations(batch, "resid_post.1")
    close(flipped["resid_post.1"], -lm.activations(batch, "resid_post.1")["resid_post.1"])


def test_patching_a_prompts_own_activation_changes_nothing(lm):
    batch = lm.encode(PROMPTS[1])
    plain = lm.logits(batch)
    for name in lm.sites():
        with patch(lm, {name: lm.activations(batch, name)[name]}, position=-1):
            close(lm.logits(batch), plain)


def test_several_patches_in_one_block_hold_together(lm):
    values = {name: torch.randn(lm.d_model) for name in ("resid_mid.1", "resid_pre.1", "mlp_out.1")}
    with patch(lm, values):
        got = lm.activations("the cat", [*values, "resid_post.1"])
    for name, value in values.items():
        close(got[name][0], value)
    close(got["resid_post.1"][0], values["resid_mid.1"] + values["mlp_out.1"])


@pytest.mark.parametrize(
    ("changes", "position", "message"),
    [
        ({"blocks.0.attn.hook_result.1": 0.0}, None, "hook_z.1"),
        ({"resid_post.0": torch.zeros(5)}, None, "broadcast"),
        ({"resid_post.0": 0.0}, 50, "position 50"),
    ],
)
def test_a_patch_that_makes_no_sense_is_refused(lm, changes, position, message):
    with pytest.raises(InvalidArgument, match=message), patch(lm, changes, position=position):
        lm.logits("the cat")


def test_work_can_be_cancelled_and_reports_progress(lm):
    reports, stop = [], threading.Event()

    def on_progress(done, total, message):
        reports.append((done, total))
        stop.set()

    with pytest.raises(Cancelled):
        lm.activations(PROMPTS, "resid_post.0", batch_size=2, on_progress=on_progress, cancel=stop)
    assert reports == [(2, 4)]


def test_threads_do_not_see_each_others_hooks(lm):
    words = [[1, 3 + i] for i in range(len(WORDS))]
    expected = lm.activations(words, "resid_post.1")["blocks.1.hook_resid_post"]
    results = {}

    def work(i):
        results[i] = lm.activations([words[i]] * 3, "resid_post.1")["blocks.1.hook_resid_post"][0]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for i, value in results.items():
        close(value, expected[i])


def test_a_bad_batch_size_is_refused(lm):
    with pytest.raises(InvalidArgument, match="batch_size"):
        lm.activations(PROMPTS, "resid_post.0", batch_size=0)
    with pytest.raises(BadPrompt):
        lm.activations([], "resid_post.0")


# --- many prompts -------------------------------------------------------------------------------------


def test_many_prompts_of_mixed_length_run_in_batches_of_like_length(lm):
    lengths = [3, 31, 5, 3, 30, 4, 4, 3]
    prompts, widths = [[1, *[5 + i] * (n - 1)] for i, n in enumerate(lengths)], []
    handle = lm.architecture.blocks[0].register_forward_hook(lambda _m, args, _out: widths.append(args[0].shape[:2]))
    try:
        values = lm.activations(prompts, "resid_post.1", batch_size=3)
    finally:
        handle.remove()
    assert widths == [(3, 3), (3, 5), (2, 31)]
    for i, prompt in enumerate(prompts):
        close(values["resid_post.1"][i], lm.activations([prompt], "resid_post.1")["resid_post.1"][0])


def test_batches_hold_about_as_many_tokens_whatever_the_longest_prompt_is():
    rows = TokenRows.of_ids([[1] * 4096, *[[1] * 8] * 2000, [1] * 20000])
    batches = rows.batches()
    assert sorted(torch.cat(batches).tolist()) == list(range(2002))
    padded = [len(batch) * int(rows.lengths[batch].max()) for batch in batches]
    assert padded[-1] == 20000  # by itself
    assert all(size <= TOKENS_PER_BATCH for size in padded[:-1])
    assert len(batches) == 4


def test_a_prompt_is_the_same_in_whatever_form_it_is_given(lm):
    encoded = lm.encode(PROMPTS)
    expected = lm.activations(PROMPTS, lm.sites())
    for prompts in (encoded, encoded.rows(), [torch.tensor(row) for row in encoded.rows()]):
        values = lm.activations(prompts, lm.sites())
        assert all(torch.equal(values[name], expected[name]) for name in expected)


def test_the_prompt_at_fault_is_named_among_many(lm, monkeypatch):
    monkeypatch.setattr("inversescope_nb.token_rows.PIECE", 2)
    with pytest.raises(BadPrompt, match="prompt 3 holds the token id 999"):
        lm.activations([[1, 5]] * 3 + [[1, 999]], "resid_post.0")
    with pytest.raises(BadPrompt, match="prompt 2 is empty"):
        lm.activations(["the cat", "a dog", " "], "resid_post.0")
    assert lm.activations(["the cat", [1, 5], "a dog"], "resid_post.0")["resid_post.0"].shape == (3, lm.d_model)


def tensors_alive():
    return sum(issubclass(type(thing), torch.Tensor) for thing in gc.get_objects())


def test_no_batch_is_held_on_to(lm):
    """Tensors that are alive between batches do not become more, and none is left to the garbage collector."""
    alive = []
    lm.activations([[1, 5, 6]], lm.sites())
    gc.collect()
    gc.disable()
    try:
        before = tensors_alive()
        values = lm.activations(
            [[1, 5, 6]] * 12, lm.sites(), batch_size=1, on_progress=lambda *_said: alive.append(tensors_alive())
        )
        assert len(set(alive)) == 1, alive
        del values
        assert tensors_alive() == before
        with capture(lm, lm.sites(), stop=True) as seen:
            lm.model(torch.tensor([[1, 5, 6]]))
        del seen
        assert tensors_alive() == before
    finally:
        gc.enable()


def test_nothing_asked_for_is_nothing(lm):
    assert lm.activations(PROMPTS, []) == {}


def test_other_threads_get_a_turn_between_batches(lm):
    """Another thread reads in the middle of a long reading, with hooks and evaluation mode of its own."""
    started, results = threading.Event(), []

    def other():
        started.wait()
        results.append(lm.activations(PROMPTS, "resid_post.0")["resid_post.0"])

    thread = threading.Thread(target=other)
    thread.start()
    seen = []

    def look(done, *_said):
        started.set()
        time.sleep(0.02)
        seen.append(bool(results))

    values = lm.activations([[1, 5, 6]] * 100, "resid_post.1", batch_size=1, on_progress=look)
    thread.join()
    assert True in seen, "the other one had to wait to the end"
    close(results[0], lm.activations(PROMPTS, "resid_post.0")["resid_post.0"])
    close(values["resid_post.1"], lm.activations([[1, 5, 6]], "resid_post.1")["resid_post.1"].expand(100, -1))


# --- out of memory ------------------------------------------------------------------------------------


def out_of_memory(kind):
    """What torch raises; the second one comes from an allocation that no machine can make."""
    if kind == "cuda":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
    torch.empty(1 << 60)


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
def test_a_batch_that_does_not_fit_is_halved_and_no_work_is_lost(lm, kind, caplog):
    lengths = [3] * 8 + [6] * 9
    prompts = [[1, *[4 + i] * (n - 1)] for i, n in enumerate(lengths)]
    expected = lm.activations(prompts, lm.sites(), batch_size=8)
    sizes, told = [], []

    def fits_24_tokens(_module, args, kwargs):
        hidden = args[0] if args else kwargs["hidden_states"]
        sizes.append(tuple(hidden.shape[:2]))
        if hidden.shape[0] * hidden.shape[1] > 24:
            out_of_memory(kind)

    handle = lm.architecture.blocks[1].register_forward_pre_hook(fits_24_tokens, with_kwargs=True)
    try:
        with caplog.at_level("WARNING", logger="inversescope_nb"):
            values = lm.activations(prompts, lm.sites(), batch_size=8, on_progress=lambda *said: told.append(said[:2]))
    finally:
        handle.remove()
    assert sizes == [(8, 3), (8, 6), *[(4, 6)] * 2, (1, 6)]
    assert told == [(8, 17), (12, 17), (16, 17), (17, 17)]
    assert len(caplog.records) == 1
    assert "8 prompts of 6 tokens do not fit in memory" in caplog.text
    for name in expected:
        close(values[name], expected[name])
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in lm.model.modules())


def test_one_batch_that_does_not_fit_keeps_the_order_of_the_prompts(lm):
    prompts = [[1, 5, 6], [1, 7], [1, 8, 9, 10], [1, 5], [1, 6, 6]]
    expected = lm.activations(prompts, "resid_post.1")

    def few(_module, args, kwargs):
        if (args[0] if args else kwargs["hidden_states"]).shape[0] > 1:
            out_of_memory("cuda")

    handle = lm.architecture.blocks[0].register_forward_pre_hook(few, with_kwargs=True)
    try:
        close(lm.activations(prompts, "resid_post.1")["resid_post.1"], expected["resid_post.1"])
    finally:
        handle.remove()


def test_a_prompt_that_does_not_fit_by_itself_is_named(lm):
    def long(_module, args, kwargs):
        if (args[0] if args else kwargs["hidden_states"]).shape[1] > 4:
            out_of_memory("cpu")

    handle = lm.architecture.blocks[0].register_forward_pre_hook(long, with_kwargs=True)
    try:
        with pytest.raises(OutOfMemory, match="prompt 1 of 6 tokens does not fit in memory") as raised:
            lm.activations([[1, 5], [1, 5, 6, 7, 8, 9], [1, 5]], "resid_post.1")
    finally:
        handle.remove()
    assert isinstance(raised.value, MemoryError)
    assert "can't allocate memory" in str(raised.value.__cause__)


def test_activations_that_fit_nowhere_are_an_error_that_names_the_store(lm):
    with pytest.raises(OutOfMemory, match=r"no memory for the activations[^\n]*\n.*store="):
        in_memory(pieces_of(lm, lm.sites()), 1 << 50)


def test_another_error_of_the_model_comes_through_as_it_is(lm):
    def broken(*_seen):
        raise RuntimeError("something else")

    handle = lm.architecture.blocks[0].register_forward_pre_hook(broken)
    try:
        with pytest.raises(RuntimeError, match="something else"):
            lm.activations(PROMPTS, "resid_post.1")
    finally:
        handle.remove()


# --- numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_the_models_own_output_as_float32(any_lm, dtype):
    model = tiny_model(any_lm.architecture_name).to(dtype)
    half = load_model((model, word_tokenizer()))
    ids = half.encode(PROMPTS[1]).token_ids
    values = half.activations(ids, half.sites() + half.sites(kinds=["result"]))
    with torch.inference_mode():
        states = model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
    assert states[1].dtype == dtype
    assert torch.equal(values["resid_pre.0"], states[0][:, -1].float())
    assert torch.equal(values["resid_post.0"], states[1][:, -1].float())
    assert all(value.dtype == torch.float32 for value in values.values())
    projection = half.architecture.module(0, half.architecture.layout.out_proj)
    with torch.inference_mode():
        bias = projection(torch.zeros(1, half.n_heads * half.d_head, dtype=dtype)).float()
    results = sum(values[f"blocks.0.attn.hook_result.{head}"] for head in range(N_HEADS)) + bias
    raw = half.activations(ids, "blocks.0.attn.hook_out")["blocks.0.attn.hook_out"]
    torch.testing.assert_close(results, raw, rtol=0, atol=8 * torch.finfo(dtype).eps * float(raw.norm()))


@pytest.mark.parametrize(("value", "what"), [(float("nan"), "NaN"), (float("inf"), "infinite")])
def test_activations_that_are_no_numbers_are_named(value, what):
    model = tiny_model("llama")
    model.model.layers[1].mlp.down_proj.weight.data[3, 4] = value
    lm = load_model((model, word_tokenizer()), check=False)
    assert lm.activations(PROMPTS, ["resid_post.0", "resid_mid.1"])["resid_post.0"].isfinite().all()
    with pytest.raises(NotFinite, match=rf"computes {what} values at blocks\.1\.hook_mlp_out for prompt 0\n") as raised:
        lm.activations(PROMPTS, ["resid_post.0", "mlp_out.1", "resid_post.1"])
    assert isinstance(raised.value, ArithmeticError)


def test_the_prompt_whose_activations_overflow_is_named():
    """float16 ends at 65,504: one word is too large for it, and only what was kept is looked at."""
    model = tiny_model("llama").half()
    model.model.embed_tokens.weight.data[9] *= 0
    model.model.embed_tokens.weight.data[9, 0] = 60000
    model.model.layers[0].self_attn.o_proj.weight.data *= 0
    model.model.layers[0].mlp.down_proj.weight.data[0] = 3000
    lm = load_model((model, word_tokenizer()), check=False)
    prompts = [[1, 5], [1, 6], [1, 9], [1, 9, 5]]
    overflown = [not bool(value.isfinite().all()) for value in _kept(lm, prompts)]
    assert any(overflown)
    first = overflown.index(True)
    assert not overflown[3], "the word before the last is not read"
    with pytest.raises(
        NotFinite, match=rf"infinite values at blocks\.0\.hook_resid_post for prompt {first}\n.*bfloat16"
    ):
        lm.activations(prompts, "resid_post.0")


def _kept(lm, prompts):
    for ids in prompts:
        yield activations_of_ids(lm, torch.tensor([ids]), torch.tensor([len(ids)]), ["resid_post.0"])["resid_post.0"]


def test_a_sum_that_overflows_is_no_fault_of_the_activations(lm):
    with patch(lm, {"resid_post.1": torch.full((lm.d_model,), 2e38)}):
        assert float(lm.activations(PROMPTS, "resid_post.1")["resid_post.1"].max()) == pytest.approx(2e38)


# --- several at once ----------------------------------------------------------------------------------


def test_a_capture_that_stops_ends_itself_and_not_one_inside_it(lm):
    """The outer one is done at layer 0, before the inner one's layer is reached: nothing may come of the inner."""
    inner = None
    with capture(lm, ["resid_post.0"], stop=True) as seen:
        inner = lm.activations(PROMPTS[:1], ["resid_post.1"])
    assert inner is None
    assert list(seen) == ["blocks.0.hook_resid_post"]
    close(seen["resid_post.0"][0, -1], lm.activations(PROMPTS[:1], ["resid_post.0"])["resid_post.0"][0])


def test_a_site_that_a_forward_pass_does_not_reach_is_named(lm, monkeypatch):
    monkeypatch.setattr(lm.model, "forward", lambda **_kwargs: None)
    with pytest.raises(UnsupportedModel, match=r"did not reach blocks\.1\.hook_resid_post"):
        lm.activations(PROMPTS, ["resid_post.1"])


def test_a_model_has_one_lock_however_often_it_is_wrapped():
    model, tokenizer = tiny_model("llama"), word_tokenizer()
    first, second = load_model((model, tokenizer)), load_model((model, tokenizer))
    assert first.lock is second.lock
    assert first.lock is not load_model((tiny_model("llama"), tokenizer)).lock
