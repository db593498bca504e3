"""An embedding model's encoder compiled by OpenVINO, which computes the same numbers in less processor time."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from transformers.modeling_outputs import BaseModelOutput

from core.errors import InvalidInput

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

EXAMPLE = ["A short text.", "A text that is somewhat longer than the other one, so that one of the two is padded."]


class CompiledEncoder(torch.nn.Module):
    """Stands where the encoder of a sentence-transformers model stood. For one thread at a time.

    Args:
        request: OpenVINO's request of a compiled model whose only output is the states of shape (texts, tokens, width).
        inputs: what its inputs are called among the features, in their order.
        config: the encoder's own.
    """

    def __init__(self, request: Any, inputs: Sequence[str], config: Any) -> None:
        super().__init__()
        self.config = config
        self._request = request
        self._inputs = tuple(inputs)

    def forward(self, **features: Any) -> BaseModelOutput:
        """The states of the last layer."""
        tensors = [features[name].numpy() for name in self._inputs]
        states = self._request.infer(tensors, share_inputs=True)[0]
        return BaseModelOutput(last_hidden_state=torch.from_numpy(states))


class _States(torch.nn.Module):
    """An encoder with positional arguments and one output, as it is traced."""

    def __init__(self, encoder: torch.nn.Module, inputs: Sequence[str]) -> None:
        super().__init__()
        self._encoder = encoder
        self._inputs = tuple(inputs)

    def forward(self, *tensors: torch.Tensor) -> torch.Tensor:
        """The states of the last layer."""
        named = dict(zip(self._inputs, tensors, strict=True))
        states: torch.Tensor = self._encoder(**named).last_hidden_state
        return states


def compile_encoders(models: Sequence[SentenceTransformer], precision: torch.dtype) -> None:
    """Put compiled encoders into models of the same weights, each with threads of its own.

    Raises:
        InvalidInput: the package is not installed, or the model cannot be compiled.
    """
    try:
        from openvino import Core
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
    except ImportError as error:
        raise InvalidInput(
            "EMBEDDING__BACKEND=openvino takes the package openvino: pip install openvino, or use torch."
        ) from error
    encoder: Any = models[0][0].model
    inputs, tensors = _example(models[0], encoder)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            # Tracing warns of every branch that depends on a shape.
            warnings.simplefilter("ignore")
            decoder = TorchScriptPythonDecoder(_States(encoder, inputs).eval(), example_input=tensors)
            frontend = FrontEndManager().load_by_framework("pytorch")
            graph = frontend.convert(frontend.load(decoder))
    except (RuntimeError, ValueError, TypeError) as error:
        raise InvalidInput("EMBEDDING__BACKEND=openvino cannot compile EMBEDDING__MODEL; use torch.") from error
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        "INFERENCE_PRECISION_HINT": "bf16" if precision == torch.bfloat16 else "f32",
    }
    core = Core()
    for model in models:
        request = core.compile_model(graph, "CPU", options).create_infer_request()
        model[0].model = CompiledEncoder(request, inputs, encoder.config)


def _example(model: SentenceTransformer, encoder: torch.nn.Module) -> tuple[list[str], tuple[torch.Tensor, ...]]:
    """What the encoder is traced with: the names of its inputs, and a tensor for each."""
    features = model.preprocess(EXAMPLE)
    known = inspect.signature(encoder.forward).parameters
    inputs = [name for name, value in features.items() if name in known and isinstance(value, torch.Tensor)]
    return inputs, tuple(features[name] for name in inputs)
