"""Write LXT's AttnLRP and CP-LRP for the small transformers among the exported ONNX models.

The models are the PyTorch ones that `tools/onnx/make_fixtures.py` exports, with the weights of
the files in `crates/attr-testkit/onnx/models`. Each must first give the file's stored output.
Then LXT's own functions (`lxt.efficient.patches`) replace the forward pass of

- every LayerNorm, where the standard deviation passes no gradient;
- GELU and tanh, where the gradient is times f(x) / x; and
- the product of weights and values and that of queries and keys: under AttnLRP half of the
  gradient goes to each operand, under CP-LRP none to queries and keys and all to the values.

The rest is autograd's. Relevance is a tensor times its gradient, from the target's score: the
unit that the file's `target_index` names, a logit in all of these models. It is at the image,
or at the output of the token embedding before positions are added. `layer` is the name of the
file's node that computes this tensor; ONNX's reference evaluator must compute the same there.
`more` holds the relevance at the output of the first block, and that of a further target
where the first one is a position that attends to nothing but itself.

Everything is in float64. Results go to `crates/attr-testkit/golden/attnlrp.json`. LXT 2.1 cannot
be imported beside transformers 5, hence the older one in `requirements.txt`.

    pip install -r requirements.txt
    python attention.py
"""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import MethodType

import numpy as np
import onnx
import torch
import torch.nn.functional as F
from lxt.efficient.patches import (
    cp_wrap_attention_forward,
    layer_norm_forward,
    non_linear_forward,
    wrap_attention_forward,
)
from onnx.reference import ReferenceEvaluator
from safetensors import safe_open
from torch import nn
from transformers import BertConfig, BertForSequenceClassification
from transformers.activations import GELUActivation
from transformers.models.bert.modeling_bert import BertSelfAttention

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools/onnx"))
import small_models as small

FILES = ROOT / "crates/attr-testkit/onnx/models"
OUT = ROOT / "crates/attr-testkit/golden/attnlrp.json"
# Of the file's 32-bit outputs, and of two forward passes in 64 bits.
TOLERANCE = 1e-5
ROUNDING = 1e-10
WRAPPERS = {"attnlrp": wrap_attention_forward, "cp_lrp": cp_wrap_attention_forward}


class Bert(nn.Module):
    """That of `make_fixtures.py`; how its attention is computed changes no value."""

    def __init__(self):
        super().__init__()
        config = BertConfig(
            vocab_size=30,
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=16,
            max_position_embeddings=12,
            num_labels=3,
            attn_implementation="eager",
        )
        self.bert = BertForSequenceClassification(config)

    def forward(self, input_ids, attention_mask, token_type_ids):
        return self.bert(input_ids, attention_mask, token_type_ids).logits


@dataclass
class Case:
    """A file's model, and where relevance is recorded."""

    build: Callable
    # Module and node whose output is explained; neither for the image itself.
    module: str | None
    layer: str | None
    # The same for the first block.
    block_module: str
    block_layer: str
    note: str
    further_target: tuple[int, ...] | None = None


VIT_NOTE = (
    "Logits, no softmax after them. Class token, pre-norm LayerNorms, GELU by erf, no mask; the "
    "class token, positions and biases keep their share."
)
BERT_NOTE = (
    "Logits, no softmax after them. Post-norm LayerNorms, GELU by erf, the pooler's tanh on the "
    "first token, keys masked by attention_mask; token types, positions and biases keep their share."
)
GPT_NOTE = (
    "Logits, no softmax after them. Causal mask, pre-norm LayerNorms, GELU by tanh, no final bias; "
    "positions and biases keep their share. Position 0 attends to itself only: see 'more'."
)


def vit(fused):
    """A vision transformer."""
    return Case(
        lambda: small.VitTiny(fused=fused, depth=1),
        None,
        None,
        "blocks.0",
        "/blocks/blocks.0/Add_1",
        VIT_NOTE,
    )


def bert(last):
    """A BERT whose last LayerNorm ends in the node `last`."""
    return Case(
        Bert,
        "bert.bert.embeddings.word_embeddings",
        "/bert/bert/embeddings/word_embeddings/Gather",
        "bert.bert.encoder.layer.0.output",
        f"/bert/bert/encoder/layer.0/output/LayerNorm/{last}",
        BERT_NOTE,
    )


def gpt(masked):
    """A causal decoder."""
    return Case(
        lambda: small.GptTiny(masked=masked, depth=1),
        "tokens",
        "/tokens/Gather",
        "blocks.0",
        "/blocks/blocks.0/Add_1",
        GPT_NOTE,
        further_target=(5, 1),
    )


CASES = {
    "vit_tiny_legacy17": vit(fused=False),
    "vit_sdpa_tiny_legacy16": vit(fused=True),
    "bert_tiny_legacy14": bert("Add_1"),
    "bert_sdpa_tiny_legacy17": bert("LayerNormalization"),
    "gpt_tiny_legacy13": gpt(masked=True),
    "gpt_sdpa_tiny_legacy14": gpt(masked=False),
}


def attend(module, query, key, value, mask):
    """Attention written out, each operand `[batch, head, token, size]`."""
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    if mask is not None:
        scores = scores + mask
    return scores.softmax(-1) @ value


class Attention(nn.Module):
    """Self-attention with LXT's rules, in the place of another."""

    def __init__(self, project, heads, output, causal, wrapper):
        super().__init__()
        self.project = project
        self.heads = heads
        self.output = output
        self.causal = causal
        self.attend = wrapper(attend)

    def forward(self, x, mask=None):
        if self.causal:
            length = x.shape[1]
            mask = torch.full((length, length), -torch.inf, dtype=x.dtype).triu(1)
        parts = [
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in self.project(x)
        ]
        x = self.attend(self, *parts, mask)
        return self.output(x.transpose(1, 2).flatten(2))


class BertAttention(Attention):
    """With the arguments and the result that transformers expects."""

    def forward(self, x, attention_mask=None, *_, **__):
        return (super().forward(x, attention_mask),)


def replacement(module, wrapper):
    """The attention that takes a module's place, if it is one."""
    if isinstance(module, small.FusedAttention | small.MaskedAttention):
        causal = getattr(module, "causal", True)
        return Attention(
            lambda x: module.qkv(x).chunk(3, -1),
            module.heads,
            module.proj,
            causal,
            wrapper,
        )
    if isinstance(module, small.MultiheadAttention):
        inner = module.attention
        return Attention(
            lambda x: F.linear(x, inner.in_proj_weight, inner.in_proj_bias).chunk(
                3, -1
            ),
            inner.num_heads,
            inner.out_proj,
            False,
            wrapper,
        )
    if isinstance(module, BertSelfAttention):
        return BertAttention(
            lambda x: [module.query(x), module.key(x), module.value(x)],
            module.num_attention_heads,
            nn.Identity(),
            False,
            wrapper,
        )
    return None


def use_rules(model, wrapper):
    """Give a model's layers LXT's forward passes."""
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            attention = replacement(module, wrapper)
            if attention is not None:
                setattr(parent, name, attention)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.forward = MethodType(layer_norm_forward, module)
        elif isinstance(module, nn.GELU | GELUActivation | nn.Tanh):
            module.original_forward = module.forward
            module.forward = MethodType(non_linear_forward, module)


def weights(graph):
    """A file's weights by the names of the model's parameters."""
    stored = {
        i.name: torch.tensor(onnx.numpy_helper.to_array(i)) for i in graph.initializer
    }
    biases = {}
    for node in graph.node:
        if node.op_type == "Add":
            first, second = node.input
            biases |= {first: second} if second in stored else {second: first}
    named = {k: v for k, v in stored.items() if not k.startswith("onnx::")}
    for node in graph.node:
        # The exporter transposes these and drops their names, but not those of their biases.
        if node.op_type == "MatMul" and node.input[1] in stored:
            plain = node.name.strip("/").replace("/MatMul", ".bias")
            name = biases.get(node.output[0], plain).replace("bias", "weight")
            assert name not in named, name
            named[name] = stored[node.input[1]].T
    if "head.weight" in named and "tokens.weight" in named:
        assert torch.equal(named["head.weight"], named["tokens.weight"])
    return named


def load(stem):
    """A file, its inputs in order, its output, and the unit to explain."""
    file = onnx.load(FILES / f"{stem}.onnx")
    with safe_open(FILES / f"{stem}.safetensors", "pt") as data:
        inputs = [data.get_tensor(f"input.{port.name}") for port in file.graph.input]
        metadata = data.metadata()
        output = data.get_tensor(f"output.{metadata['output_name']}")
    target = tuple(int(i) for i in metadata["target_index"].split(","))
    inputs = [x.double() if x.is_floating_point() else x for x in inputs]
    return file, inputs, output.double(), target


def node_output(file, layer, inputs):
    """What one node computes, by ONNX's reference evaluator."""
    name = next(node.output[0] for node in file.graph.node if node.name == layer)
    extended = onnx.ModelProto()
    extended.CopyFrom(file)
    extended.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    feeds = {}
    for port, value in zip(file.graph.input, inputs, strict=True):
        single = value.float() if value.is_floating_point() else value
        feeds[port.name] = single.numpy()
    return torch.from_numpy(ReferenceEvaluator(extended).run([name], feeds)[0])


def close(found, expected, tolerance):
    """Whether two tensors agree, relative to the largest element (or to 1)."""
    scale = max(1.0, expected.abs().max().item())
    same = found.shape == expected.shape
    return same and (found - expected).abs().max().item() <= tolerance * scale


def relevance(model, inputs, module, target):
    """A module's output (or the first input), its relevance, and the scores."""
    inputs, kept = [x.clone() for x in inputs], []

    def keep(_module, _inputs, output):
        output.retain_grad()
        kept.append(output)

    if module is None:
        kept.append(inputs[0].requires_grad_())
    else:
        model.get_submodule(module).register_forward_hook(keep)
    scores = model(*inputs)[(slice(None), *target)]
    scores.sum().backward()
    value = kept[0]
    return value.detach(), (value * value.grad).detach(), scores.detach()


def patched(case, named, wrapper):
    """A new model with a file's weights, with LXT's rules if a wrapper is given."""
    model = case.build().double().eval()
    model.load_state_dict(named)
    if wrapper is not None:
        use_rules(model, wrapper)
    return model


def explain(stem, module, layer, target):
    """One entry: the relevance of a target at one place, by both variants."""
    case = CASES[stem]
    file, inputs, expected, _ = load(stem)
    named = weights(file.graph)
    with torch.no_grad():
        output = patched(case, named, None)(*inputs)
    assert close(output, expected, TOLERANCE), stem
    entry = {"target": [list(target)] * len(output), "layer": layer}
    for variant, wrapper in WRAPPERS.items():
        model = patched(case, named, wrapper)
        with torch.no_grad():
            assert close(model(*inputs), output, ROUNDING), (stem, variant)
        value, found, scores = relevance(model, inputs, module, target)
        assert torch.isfinite(found).all(), (stem, variant)
        if layer is not None:
            assert close(node_output(file, layer, inputs), value, TOLERANCE), layer
        entry["shape"] = list(found.shape)
        entry[variant] = [float(f"{v:.9g}") for v in found.flatten().tolist()]
        sums = np.round(found.flatten(1).sum(1).numpy(), 6)
        scores = np.round(scores.numpy(), 6)
        print(
            f"{stem}, {variant}, {target} at {layer or 'the input'}: {sums} of {scores}"
        )
    return entry


def main():
    results = {}
    for stem, case in CASES.items():
        target = load(stem)[-1]
        targets = (
            [target] if case.further_target is None else [target, case.further_target]
        )
        first, *more = (
            explain(stem, module, layer, unit)
            for unit in targets
            for module, layer in (
                (case.module, case.layer),
                (case.block_module, case.block_layer),
            )
        )
        results[stem] = first | {"note": case.note, "more": more}
    OUT.write_text(json.dumps(results) + "\n")


if __name__ == "__main__":
    main()
