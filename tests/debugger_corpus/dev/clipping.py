"""Norms far above what they are clipped to: an explosion that hides, or a loss in large units."""

from __future__ import annotations

from typing import Any

from tests.debugger_corpus.dev.cnn import CNN
from tests.debugger_corpus.dev.lstm import LSTM
from tests.debugger_corpus.dev.mlp import MLP
from tests.debugger_corpus.scenario import Scenario

_MLP: dict[str, Any] = {"depth": 12, "scheme": "he", "clip": 1.0}
_CNN: dict[str, Any] = {"blocks": 6, "gain": 30.0, "clip": 1.0}
_RNN: dict[str, Any] = {
    "cell": "relu",
    "length": 30,
    "clip": 1.0,
    "optimizer": "SGD",
    "lr": 0.05,
}

SCENARIOS: tuple[Scenario, ...] = (
    MLP.healthy("mlp_he_12_clipped", "deep without norm, careful weights", **_MLP),
    MLP.ill(
        "mlp_explosion_clipped",
        "exploding",
        "mlp_he_12_clipped",
        "initialization",
        trap="loss falls from 1e7 to 1e6, as slowly as the clipping lets it",
        gain=4.0,
        **_MLP,
    ),
    CNN.healthy("cnn_batch_norm_clipped", "scale made harmless", norm="batch", **_CNN),
    CNN.ill(
        "cnn_explosion_clipped",
        "exploding",
        "cnn_batch_norm_clipped",
        "initialization",
        trap="loss falls from 1e5 to 1e4",
        **_CNN,
    ),
    LSTM.healthy("rnn_relu_30", "clipped in most steps", recurrent=1.0, **_RNN),
    LSTM.ill(
        "rnn_gain_clipped",
        "exploding",
        "rnn_relu_30",
        "initialization",
        recurrent=3.0,
        **_RNN,
    ),
    MLP.healthy("mlp_sum_clipped", "clipped to 1e-5 of itself", scale=64e3, clip=1.0),
    CNN.healthy("cnn_sum_clipped", "clipped to 1e-5 of itself", scale=48e3, clip=1.0),
    LSTM.healthy(
        "gru_sum_clipped", "clipped to 1e-4 of itself", cell="gru", noise=1.5, scale=32e3, clip=1.0
    ),
)
