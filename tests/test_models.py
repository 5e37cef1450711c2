"""Loading from anywhere, prompts to tokens and back, fingerprints, and errors a user can act on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
import transformers
from conftest import ARCHITECTURES, D_MODEL, N_CTX, N_HEADS, N_LAYERS, tiny_config, tiny_model, word_tokenizer
from small import byte_level_tokenizer, model_for

from inversescope_nb._token_bytes import spelled
from inversescope_nb.errors import BadPrompt, InvalidArgument, ModelLoadError, UnknownSite, UnsupportedModel
from inversescope_nb.generator import TrainingConfig, load_generator
from inversescope_nb.generator.backbones import make_backbone
from inversescope_nb.models import LanguageModel, load_model
from inversescope_nb.prompts import PromptDistribution

BOS = 1


@dataclass(frozen=True)
class Slotted:
    """What encoding needs of a Prompt."""

    text: str
    slots: dict[str, tuple[int, int]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A saved model with its tokenizer."""
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model("llama").save_pretrained(path)
    word_tokenizer().save_pretrained(path)
    return path


# --- loading ------------------------------------------------------------------------------------------


def test_the_package_is_imported_without_torch():
    code = "import sys, inversescope_nb; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_sizes(any_lm):
    assert (any_lm.n_layers, any_lm.n_heads, any_lm.d_model, any_lm.n_ctx) == (
        N_LAYERS,
        N_HEADS,
        D_MODEL,
        N_CTX,
    )
    assert any_lm.bos_id == BOS
    assert any_lm.dtype == torch.float32
    assert any_lm.device.type == "cpu"


def test_a_folder_a_pair_and_the_model_itself_are_the_same_target(folder, lm):
    model, tokenizer = tiny_model("llama"), word_tokenizer()
    loaded = [load_model(folder), load_model(str(folder)), load_model((model, tokenizer))]
    loaded += [load_model(model, tokenizer=tokenizer), load_model(model, tokenizer=folder)]
    for other in loaded:
        assert (other.fingerprint, other.tokenizer_hash) == (lm.fingerprint, lm.tokenizer_hash)
        got = other.activations("the cat", "resid_post.1")["resid_post.1"]
        torch.testing.assert_close(got, lm.activations("the cat", "resid_post.1")["resid_post.1"])
    assert load_model(lm) is lm
    assert loaded[0].name == "tiny"
    assert loaded[2].model is model


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture_comes_back_from_a_folder(architecture, tmp_path):
    model = tiny_model(architecture)
    model.save_pretrained(tmp_path)
    lm = load_model(tmp_path, tokenizer=word_tokenizer())
    assert lm.fingerprint == load_model((model, word_tokenizer())).fingerprint


@pytest.mark.parametrize("half", [False, True])
def test_weights_offloaded_to_disk_give_the_same(folder, lm, tmp_path, half):
    if not half and int(transformers.__version__.partition(".")[0]) < 5:
        pytest.skip("transformers 4 cannot read a model of which nothing is left in memory")
    places = ["model.embed_tokens", "model.layers.0", "model.norm", "model.rotary_emb", "lm_head"]
    device_map = {place: "cpu" for place in places} | {"model.layers.1": "disk"} if half else {"": "disk"}
    offloaded = load_model(folder, device_map=device_map, offload_folder=tmp_path)
    assert any(p.device.type == "meta" for p in offloaded.model.parameters())
    assert offloaded.fingerprint == lm.fingerprint
    sites = lm.sites() + lm.sites(kinds=["result"])
    expected = lm.activations(["the cat", "a dog is in"], sites)
    for name, value in offloaded.activations(["the cat", "a dog is in"], sites).items():
        torch.testing.assert_close(value, expected[name])
    assert any(p.device.type == "meta" for p in offloaded.model.parameters())


def test_weights_kept_on_the_cpu_by_accelerate_give_the_same(lm):
    from accelerate import cpu_offload

    model = tiny_model("llama")
    cpu_offload(model)
    offloaded = load_model((model, word_tokenizer()))
    assert offloaded.fingerprint == lm.fingerprint
    sites = lm.sites() + lm.sites(kinds=["result"])
    expected = lm.activations(["the cat", "a dog is in"], sites)
    for name, value in offloaded.activations(["the cat", "a dog is in"], sites, batch_size=1).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)


def test_dtype_is_passed_on(folder, lm):
    half = load_model(folder, dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    assert half.fingerprint != lm.fingerprint


def test_a_peft_model_runs_with_its_adapter_and_equals_the_merged_one(lm):
    peft = pytest.importorskip("peft")
    config = peft.LoraConfig(
        task_type="CAUSAL_LM", target_modules=["q_proj", "o_proj", "down_proj"], init_lora_weights=False
    )
    adapted = peft.get_peft_model(tiny_model("llama"), config)
    tuned = load_model((adapted, word_tokenizer()))
    sites = tuned.sites() + tuned.sites(kinds=["result"])
    values = tuned.activations(["the cat", "a dog is in"], sites)
    assert tuned.model is adapted
    assert tuned.fingerprint != lm.fingerprint
    merged = load_model((adapted.merge_and_unload(), word_tokenizer()))
    for name, value in merged.activations(["the cat", "a dog is in"], sites).items():
        torch.testing.assert_close(values[name], value, rtol=1e-3, atol=1e-3)


def test_an_adapters_folder_loads_with_its_bases_tokenizer(folder, tmp_path):
    peft = pytest.importorskip("peft")
    adapted = peft.get_peft_model(
        tiny_model("llama"), peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["o_proj"])
    )
    adapted.peft_config["default"].base_model_name_or_path = str(folder)
    adapted.save_pretrained(tmp_path)
    assert load_model(tmp_path).encode("the cat").token_ids.shape == (1, 3)


def test_virtual_tokens_are_refused():
    peft = pytest.importorskip("peft")
    config = peft.PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)
    with pytest.raises(UnsupportedModel, match="virtual tokens"):
        load_model((peft.get_peft_model(tiny_model("llama"), config), word_tokenizer()))


def test_a_fine_tuned_model_is_another_target(lm):
    model = tiny_model("llama")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    model(torch.tensor([[1, 5, 6]]), labels=torch.tensor([[1, 5, 6]])).loss.backward()
    optimizer.step()
    assert load_model((model, word_tokenizer())).fingerprint != lm.fingerprint
    assert load_model((tiny_model("llama", seed=1), word_tokenizer())).fingerprint != lm.fingerprint


def test_unknown_architectures_are_read_by_their_names_and_checked():
    """OLMo-2 (norms after each part only), GPT-J (parallel) and GPT-Neo (nested attention) have no entry."""
    import transformers as tf

    sizes = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    wide = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 40}
    olmo = _load(tf.Olmo2Config(**sizes, **wide))
    assert olmo.architecture.layout.attn_norm == "post_attention_layernorm"
    gptj = _load(tf.GPTJConfig(**sizes, n_embd=24, n_layer=2, n_head=4, rotary_dim=4, n_positions=32))
    assert gptj.architecture.layout.mid is None
    types = [[["global", "local"], 1]]
    neo = _load(tf.GPTNeoConfig(**sizes, hidden_size=24, num_layers=2, num_heads=4, attention_types=types))
    assert neo.architecture.layout.out_proj == "attn.attention.out_proj"
    with pytest.raises(UnsupportedModel, match="does not satisfy"):
        _load(tf.GraniteConfig(**sizes, **wide, residual_multiplier=0.5))
    with pytest.raises(UnsupportedModel, match="transformer blocks"):
        _load(tf.MambaConfig(**sizes, hidden_size=24, num_hidden_layers=2))


MIXED = {"num_key_value_heads": 2, "intermediate_size": 40, "sliding_window": 4}


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("Gemma2", {"head_dim": 8, "layer_types": ["full_attention", "sliding_attention"] * 2}),
        ("Qwen2", {"use_sliding_window": True, "max_window_layers": 2}),
        ("Cohere2", {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]}),
        ("Olmo3", {"layer_types": ["sliding_attention"] * 3 + ["full_attention"]}),
        ("GptOss", {"head_dim": 8, "num_local_experts": 2, "num_experts_per_tok": 1}),
    ],
)
def test_layers_that_see_a_window_beside_layers_that_see_all(architecture, changes):
    """Alone or padded in a batch, an activation is the model's own, also where the prompt is longer than the window."""
    config = getattr(transformers, f"{architecture}Config", None)
    if config is None:
        pytest.skip(f"transformers {transformers.__version__} has no {architecture}")
    sizes = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 32}
    sizes |= {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4}
    lm = _load(config(**sizes, **MIXED, **changes))
    types = lm.model.config.layer_types
    assert {"sliding_attention", "full_attention"} == set(types)
    prompts = [[1, 5, 6], [1, *range(5, 17)], [1, *range(20, 26)]]
    values = lm.activations(prompts, lm.sites())
    for i, ids in enumerate(prompts):
        with torch.inference_mode():
            states = lm.model(torch.tensor([ids]), output_hidden_states=True).hidden_states
        for layer in range(3):  # of the last layer it tells what the final norm makes of it
            own = values[f"blocks.{layer}.hook_resid_post"][i]
            torch.testing.assert_close(own, states[layer + 1][0, -1], rtol=1e-3, atol=1e-3)
    full = types.index("full_attention")
    before = lm.activations(prompts[1], [f"z.{layer}" for layer in (0, full)])
    after = lm.activations([1, 30, *prompts[1][2:]], [f"z.{layer}" for layer in (0, full)])
    assert torch.equal(before["z.0"], after["z.0"]) == (types[0] == "sliding_attention"), "outside the first window"
    assert not torch.equal(before[f"z.{full}"], after[f"z.{full}"])


@pytest.mark.parametrize(
    ("architecture", "changes", "message"),
    [
        (
            "Jamba",
            {"num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "mamba_d_state": 4, "mamba_dt_rank": 4}
            | {"use_mamba_kernels": False},
            "2 of the 4 blocks of JambaForCausalLM have no attention; block 0 is mamba",
        ),
        (
            "Bamba",
            {"attn_layer_indices": [1, 3], "mamba_n_heads": 4, "mamba_d_head": 12, "mamba_d_state": 8}
            | {"mamba_n_groups": 1},
            "2 of the 4 blocks of BambaForCausalLM have no attention",
        ),
        (
            "FalconH1",
            {"mamba_d_ssm": 24, "mamba_n_heads": 4, "mamba_d_head": 6, "mamba_d_state": 8, "mamba_n_groups": 1},
            "does not satisfy",
        ),
    ],
)
def test_hybrids_of_attention_and_mamba_are_refused_and_it_is_said_why(architecture, changes, message):
    config = getattr(transformers, f"{architecture}Config", None)
    if config is None:
        pytest.skip(f"transformers {transformers.__version__} has no {architecture}")
    sizes = {"vocab_size": 40, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "intermediate_size": 40}
    sizes |= {"hidden_size": 24, "num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2}
    with pytest.raises(UnsupportedModel, match=message) as raised:
        _load(config(**sizes, **changes))
    assert raised.value.hint


def test_a_site_whose_module_returns_a_tuple_is_its_first_part():
    lm, returned = load_model((tiny_model("gpt2"), word_tokenizer())), []
    attention = lm.architecture.module(1, "attn")
    handle = attention.register_forward_hook(lambda _module, _args, output: returned.append(output))
    try:
        values = lm.activations(["the cat", "a dog is in"], ["blocks.1.attn.hook_out", "resid_post.1"])
    finally:
        handle.remove()
    assert isinstance(returned[0], tuple)
    assert torch.equal(values["blocks.1.attn.hook_out"][1], returned[0][0][1, -1])


@pytest.mark.parametrize("special", [{}, {"pad_token": "<eos>"}, {"pad_token": "<pad>", "eos_token": None}])
@pytest.mark.parametrize("bos", [True, False])
def test_special_tokens_that_a_tokenizer_lacks_or_shares_change_no_activation(lm, special, bos):
    """No pad token, one that is the end of a text, no end of a text, no beginning."""
    tokenizer = word_tokenizer(bos=bos, pad=False)
    for name, token in special.items():
        setattr(tokenizer, name, token)
    other = load_model((lm.model, tokenizer))
    assert (other.eos_id is None) == ("eos_token" in special)
    assert (other.bos_id is None) == (not bos)
    texts = ["the cat", "John and Mary gave the book to the dog", "a dog"]
    values = other.activations(texts, other.sites())
    for i, text in enumerate(texts):
        ids = lm.encode(text).rows()[0][0 if bos else 1 :]
        for name, value in lm.activations([ids], lm.sites()).items():
            torch.testing.assert_close(values[name][i], value[0], rtol=1e-4, atol=1e-4)


def test_the_language_model_inside_a_multimodal_one_is_found():
    import transformers as tf

    vision = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = tf.Gemma3Config(
        text_config=tiny_config("gemma3").to_dict(),
        vision_config=vision | {"image_size": 28, "patch_size": 14},
        mm_tokens_per_image=4,
    )
    lm = load_model((tf.Gemma3ForConditionalGeneration(config).eval(), word_tokenizer()))
    assert lm.architecture.path == "model.language_model.layers"
    assert lm.d_model == D_MODEL


def _load(config) -> LanguageModel:
    from transformers import AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            parameter.data += 0.3 * torch.randn_like(parameter)
    return load_model((model.eval(), word_tokenizer()))


def test_a_folder_that_does_not_exist_is_named():
    for missing in ["./no/such/folder", Path("no_such_folder"), "~/no_such_folder", ""]:
        with pytest.raises(ModelLoadError, match="no folder"):
            load_model(missing)


def test_a_model_that_cannot_be_fetched_fails_at_once_with_a_hint(monkeypatch):
    import huggingface_hub

    def unreachable(*_args, **_kwargs):
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(ModelLoadError, match=r"cannot fetch 'no-such/model'[^\n]*\n.*offline") as caught:
        load_model("no-such/model")
    assert isinstance(caught.value, OSError)


def test_an_adapter_that_was_fetched_before_loads_offline(folder, tmp_path):
    """Real caches and a real offline mode, in a process of its own."""
    peft = pytest.importorskip("peft")
    target = peft.get_peft_model(tiny_model("llama"), peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["o_proj"]))
    target.peft_config["default"].base_model_name_or_path = "user/base"
    commit = "0123456789" * 4
    for name, fill in (
        ("base", lambda place: shutil.copytree(folder, place)),
        ("adapter", lambda place: target.save_pretrained(place)),
    ):
        repo = tmp_path / "hub" / f"models--user--{name}"
        fill(repo / "snapshots" / commit)
        (repo / "refs").mkdir()
        (repo / "refs" / "main").write_text(commit)
    code = (
        "import inversescope_nb as isn\n"
        "lm = isn.load_model('user/adapter')\n"
        "print(type(lm.model).__name__, lm.encode('the cat').lengths.tolist(), hasattr(lm.model, 'peft_config'))\n"
        "for call in (isn.load_model, isn.load_generator):\n"
        "    try: call('user/other')\n"
        "    except isn.errors.ModelLoadError as e: print(e.message[:12], bool(e.hint))\n"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert done.stdout.split("\n")[:3] == [
        "LlamaForCausalLM [3] True", "cannot fetch True", "cannot fetch True"
    ], done.stderr  # fmt: skip


def test_a_backbone_or_data_set_that_cannot_be_fetched_fails_at_once(lm, monkeypatch):
    import huggingface_hub
    import transformers

    def unreachable(*_args, **_kwargs):
        raise ConnectionError("Name or service not known")

    def never(*_args, **_kwargs):
        raise AssertionError("asked again and again")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    monkeypatch.setattr(huggingface_hub.HfApi, "dataset_info", unreachable)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", never)
    with pytest.raises(ModelLoadError, match=r"backbone 'no-such/model': cannot fetch[^\n]*\n.*'small'"):
        make_backbone(lm, TrainingConfig(backbone="no-such/model"), 8)
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr(datasets, "load_dataset", never)
    with pytest.raises(ModelLoadError, match=r"cannot read the data set 'no-such/data'[^\n]*not known\n.*connection"):
        PromptDistribution.from_dataset("no-such/data")


@pytest.mark.parametrize("missing", ["/nope", "./nope", "~/nope", "a/b/c", "/x/nope.txt", "nope", ""])
def test_a_generators_missing_folder_is_named_as_it_was_given(missing):
    with pytest.raises(ModelLoadError) as raised:
        load_generator(missing)
    assert raised.value.message == f"no folder {missing!r}"
    assert "user/name on the Hub" in raised.value.hint


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file.txt").write_text("")
    for call in (load_generator, load_model):
        with pytest.raises(ModelLoadError, match=r"/file\.txt' is a file"):
            call(str(tmp_path / "file.txt"))


def test_a_folder_without_weights_or_tokenizer_is_an_error_of_ours(tmp_path):
    tiny_config("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match="cannot load the model"):
        load_model(tmp_path, tokenizer=word_tokenizer())
    tiny_model("llama").save_pretrained(tmp_path)
    with pytest.raises(ModelLoadError, match=r"no tokenizer found[^\n]*\n.*tokenizer="):
        load_model(tmp_path)
    with pytest.raises(ModelLoadError, match="without a tokenizer"):
        load_model(tiny_model("llama"))


def test_a_damaged_file_is_an_error_of_ours(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "damaged")
    weights = tmp_path / "damaged" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ModelLoadError, match="cannot load the model"):
        load_model(tmp_path / "damaged")


@pytest.mark.parametrize("left", ["a shard is missing", "a shard is cut off", "half of the weights"])
def test_a_download_that_was_interrupted_is_no_model(folder, tmp_path, left):
    from safetensors.torch import load_file, save_file

    tiny_model("llama").save_pretrained(tmp_path, max_shard_size="8KB")
    word_tokenizer().save_pretrained(tmp_path)
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert load_model(tmp_path).fingerprint == load_model(folder).fingerprint
    if left == "a shard is missing":
        shards[1].rename(shards[1].with_suffix(".safetensors.incomplete"))
    elif left == "a shard is cut off":
        shards[1].write_bytes(shards[1].read_bytes()[:-100])
    else:
        weights = load_file(folder / "model.safetensors")
        for file in (*shards, tmp_path / "model.safetensors.index.json"):
            file.unlink()
        half = {name: value for name, value in weights.items() if "layers.1" not in name}
        save_file(half, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelLoadError, match="cannot load the model") as raised:
        load_model(tmp_path)
    assert raised.value.hint


def test_a_cache_in_which_a_download_was_interrupted_is_no_model(folder, tmp_path):
    """Real caches and a real offline mode, in a process of its own."""
    repo = tmp_path / "hub" / "models--user--cut"
    commit = "0123456789" * 4
    shutil.copytree(folder, repo / "snapshots" / commit)
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    (repo / "blobs").mkdir()
    weights = repo / "snapshots" / commit / "model.safetensors"
    (repo / "blobs" / "0123.incomplete").write_bytes(weights.read_bytes()[:1000])
    weights.unlink()
    code = (
        "import inversescope_nb as isn\n"
        "try: isn.load_model('user/cut')\n"
        "except isn.errors.ModelLoadError as e: print(e.message[:21], bool(e.hint))\n"
    )
    env = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(tmp_path / "hub")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, timeout=120)
    assert done.stdout == "cannot load the model True\n", done.stderr


@pytest.mark.parametrize("source", [5, (1, 2, 3), torch.nn.Linear(2, 2)])
def test_something_that_is_no_model_is_refused(source):
    with pytest.raises((InvalidArgument, UnsupportedModel, ModelLoadError)):
        load_model(source, tokenizer=None if isinstance(source, tuple) else word_tokenizer())


# --- encoding -----------------------------------------------------------------------------------------


def test_bos_comes_once_and_eos_not_at_all(lm):
    model = lm.model
    text, ids = "the cat", lm.tokenizer.convert_tokens_to_ids(["the", "cat"])
    for tokenizer in (word_tokenizer(), word_tokenizer(eos_at_end=True), word_tokenizer(pad=False)):
        other = load_model((model, tokenizer))
        assert other.encode(text).rows() == [[BOS, *ids]]
        assert other.encode("<bos> the cat").rows() == [[BOS, *ids]]
    without = load_model((model, word_tokenizer(bos=False)))
    assert without.bos_id is None
    assert without.encode(text).rows() == [ids]


def test_an_eos_in_the_text_stays(lm):
    assert lm.encode("the cat <eos>").rows()[0][-1] == lm.eos_id


def test_prompts_of_every_form(lm):
    ids = lm.encode("the cat").rows()[0]
    for same in (
        Slotted("the cat"),
        ids,
        tuple(ids),
        torch.tensor(ids),
        [ids],
        torch.tensor([ids]),
        ["the cat"],
    ):
        assert lm.encode(same).rows() == [ids]
    mixed = lm.encode(["a dog is in the park", ids, Slotted("the cat")])
    assert mixed.rows()[1:] == [ids, ids]
    assert mixed.token_ids.shape == (3, 7)
    assert mixed.token_ids[1].tolist() == [*ids, *[lm.pad_id] * 4]
    assert lm.encode(mixed) is mixed


def test_token_ids_are_taken_as_they_are(lm):
    assert lm.encode([5, 6, 7]).rows() == [[5, 6, 7]]


def test_slot_positions_are_those_of_the_slots_last_tokens(lm):
    first = Slotted("John gave the book to Mary", {"giver": (0, 4), "thing": (10, 18), "taker": (22, 26)})
    second = Slotted("the cat", {"giver": (4, 7)})
    positions = lm.encode([first, "a dog", second]).slot_positions
    assert {name: row.tolist() for name, row in positions.items()} == {
        "giver": [1, -1, 2],
        "thing": [4, -1, -1],
        "taker": [6, -1, -1],
    }


def test_a_slot_of_several_tokens_ends_at_its_last_one():
    from tokenizers import ByteLevelBPETokenizer
    from transformers import PreTrainedTokenizerFast

    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(["the cat sat on the mat"] * 5, vocab_size=265, show_progress=False)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend._tokenizer)
    config = tiny_config("gpt2")
    config.vocab_size = 300
    from transformers import AutoModelForCausalLM

    lm = load_model((AutoModelForCausalLM.from_config(config), tokenizer))
    text = "the zebra sat"
    batch = lm.encode(Slotted(text, {"animal": (4, 9)}))
    strings = lm.token_strings(batch.token_ids[0])
    assert "".join(strings) == text == lm.decode(batch.token_ids[0])
    end = int(batch.slot_positions["animal"][0])
    assert "".join(strings[: end + 1]) == "the zebra"
    assert lm.pad_id == 0


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("", "empty"),
        ([], "no prompt"),
        ([[]], "empty"),
        (["the cat", ""], "empty"),
        ([5, 6, 999], "token id 999"),
        ([-1], "token id -1"),
        ([[5], [5, 999]], "prompt 1 holds the token id 999"),
        ("the " * 40, "41 tokens"),
        ([5] * 33, "33 tokens"),
        ("the kat", "does not know 'kat'. Did you mean 'cat'"),
        ("kat the dgo kat", r"does not know 'kat', 'dgo'\."),
        ("q w e r t y z", r"does not know 'q', 'w', 'e', 'r', 't' and 2 more\."),
        (None, "NoneType"),
        (5, "int"),
        ([1.5, 2.0], "cannot be"),
        ([["the", "cat"]], "cannot be"),
        ({"a": 1}, "dict"),
        (b"\x01\x02", "bytes"),
    ],
)
def test_a_bad_prompt_says_what_is_wrong(lm, prompt, message):
    with pytest.raises(BadPrompt, match=message):
        lm.encode(prompt)


def test_decode_and_token_strings(lm):
    ids = lm.encode("the cat is in").token_ids[0]
    assert lm.token_strings(ids) == ["<bos>", "the", "cat", "is", "in"]
    assert lm.decode(ids) == "<bos> the cat is in"
    assert lm.decode([]) == ""
    for bad in ([999], [-1]):
        with pytest.raises(BadPrompt, match="does not exist"):
            lm.decode(bad)
        with pytest.raises(BadPrompt, match="does not exist"):
            lm.token_strings(bad)


def test_tokens_inside_a_character_say_which_bytes_they_are():
    lm = model_for(byte_level_tokenizer())
    strings = lm.token_strings(lm.encode("a\u20ac \u00e9").token_ids[0])
    joined = "".join(strings)
    assert "\ufffd" not in joined
    for code in ("<0xE2>", "<0x82>", "<0xAC>", "<0xC3>", "<0xA9>"):
        assert code in joined
    assert len(set(strings)) == len(strings)  # told apart, also by a feature that reads one token


@pytest.mark.parametrize(
    ("token", "decoded", "text"),
    [
        ("\u0120the", " the", " the"),
        ("\u0120\u00e2\u0124", " \ufffd", " <0xE2><0x82>"),
        ("\u00e2\u0124\u00acx", "\u20acx", "\u20acx"),  # whole
        ("\u0124\u00acx", "\ufffd\ufffdx", "<0x82><0xAC>x"),  # the end of one character and another
        ("\u00ef\u00bf\u00bd", "\ufffd", "\ufffd"),  # the character U+FFFD itself
        ("<0xE4>", "\ufffd", "<0xE4>"),  # SentencePiece's
        ("\u4e2d?", "\ufffd", "\ufffd"),  # a vocabulary that does not say
    ],
)
def test_bytes_are_spelled_where_the_vocabulary_says_them(token, decoded, text):
    assert spelled(token, decoded) == text


def test_the_tokenizer_hash_sees_words_and_special_tokens(lm):
    model = lm.model
    same = load_model((model, word_tokenizer(eos_at_end=True)))
    other = load_model((model, word_tokenizer(bos=False)))
    assert same.tokenizer_hash == lm.tokenizer_hash != other.tokenizer_hash


def test_logits_are_the_models_own(lm):
    batch = lm.encode(["the cat", "a dog is in the park"])
    got = lm.logits(batch)
    for row, ids in zip(got, batch.rows(), strict=True):
        with torch.no_grad():
            expected = lm.model(torch.tensor([ids])).logits[0, -1]
        torch.testing.assert_close(row, expected, rtol=1e-4, atol=1e-4)


def test_logits_are_computed_where_they_are_asked_for(lm, monkeypatch):
    prompts, seen = ["the cat", "a dog is in the park"], []
    handle = lm.model.lm_head.register_forward_hook(lambda module, args, out: seen.append(out.shape[1]))
    try:
        wanted = lm.logits(prompts), lm.logits(prompts, [0, 2]), lm.logits(prompts[1:] * 3)
        assert seen == [2, 2, 1]
        monkeypatch.setattr(lm, "takes_logits_to_keep", False)
        plain = lm.logits(prompts), lm.logits(prompts, [0, 2]), lm.logits(prompts[1:] * 3)
    finally:
        handle.remove()
    assert min(seen[3:]) > 2
    for a, b in zip(wanted, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


def test_a_model_that_means_something_else_by_logits_to_keep_is_read_at_the_right_place(lm, monkeypatch):
    wanted, own = lm.logits(["the cat", "a dog is in the park"]), lm.model.forward
    monkeypatch.setattr(lm.model, "forward", lambda *args, logits_to_keep=0, **how: own(*args, **how))
    torch.testing.assert_close(lm.logits(["the cat", "a dog is in the park"]), wanted, rtol=1e-5, atol=1e-5)


def test_errors_are_value_errors_too(lm):
    with pytest.raises(ValueError, match="unknown site"):
        lm.site("nowhere")
    assert issubclass(UnknownSite, ValueError)


# --- models others made -------------------------------------------------------------------------------


@pytest.mark.third_party
def test_a_llama_with_byte_fallback(third_party):
    lm = load_model(third_party / "stories260K")
    ids = lm.encode("Once upon a time Lily went").token_ids[0]
    assert lm.token_strings(ids)[:4] == ["<s>", " Once", " upon", " a"]
    assert lm.logits("Once upon a time")[0].argmax() == lm.encode("Once upon a time,").token_ids[0, -1]


@pytest.mark.third_party
def test_a_gpt2_without_bos(third_party):
    lm = load_model(third_party / "nanogpt-sort")
    assert lm.encode("CAB").rows() == [[2, 0, 1]]
    with pytest.raises(BadPrompt, match="does not know 'X'"):
        lm.encode("CAX")


def test_what_is_packaged_loads_without_a_progress_bar(capfd) -> None:
    from transformers.utils import logging

    from inversescope_nb.generator import load_generator

    was = logging.is_progress_bar_enabled()
    try:
        for switch, shown in ((logging.enable_progress_bar, True), (logging.disable_progress_bar, False)):
            switch()
            load_model()
            load_generator()
            assert "Loading" not in capfd.readouterr().err
            assert logging.is_progress_bar_enabled() == shown
    finally:
        (logging.enable_progress_bar if was else logging.disable_progress_bar)()
