"""Forward passes that cut gradients off: by mistake, so that little is trained, or rightly so."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.debugger_corpus.dev._common import LN_10, Family, batches, digits, seeded
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import Tensor, nn

STEPS = 160


def _body(width: int, outputs: int) -> nn.Sequential:
    from torch import nn

    return nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, outputs))


def _rounded(seed: int, *, straight_through: bool) -> Iterator[float]:
    """Reconstruct from whole numbers; yield the squared error.

    A straight-through estimator takes rounding for the identity on the way back.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, _ = digits()
    pixels = (features - features.min()) / (features.max() - features.min())
    encoder = _body(48, 16)
    decoder = nn.Sequential(nn.Linear(16, 48), nn.ReLU(), nn.Linear(48, 64))
    model = nn.ModuleList([encoder, decoder])
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)
    rows = batches(generator, len(pixels), 64)
    for _ in range(STEPS):
        images = pixels[next(rows)]
        code = encoder(images)
        whole = code.round()
        if straight_through:
            whole = code + (whole - code).detach()
        loss = nn.functional.mse_loss(decoder(whole), images)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _calibrated(seed: int, *, numbers: bool) -> Iterator[float]:
    """Classify digits with a bias and a temperature that are applied to the logits at the end."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    model = _body(64, 10)
    temperature, bias = nn.Parameter(torch.ones(())), nn.Parameter(torch.zeros(10))
    given = [*model.parameters(), temperature, bias]
    optimizer = torch.optim.Adam(given, lr=5e-3)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        logits = model(features[chosen_rows])
        if numbers:
            # Put together again from plain numbers, which know of no model.
            logits = torch.tensor(logits.tolist())
        loss = nn.functional.cross_entropy(logits * temperature + bias, classes[chosen_rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _adapter(seed: int, *, no_grad: bool) -> Iterator[float]:
    """Train low-rank adapters of a frozen network, and the biases of its head."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    body, head = nn.Linear(64, 64), nn.Linear(64, 10)
    body.requires_grad_(False)
    head.weight.requires_grad_(False)
    pairs = nn.ParameterList()
    for outputs in (64, 10):
        pairs.extend(
            [nn.Parameter(0.2 * torch.randn(4, 64)), nn.Parameter(torch.zeros(outputs, 4))]
        )
    optimizer = torch.optim.Adam([*pairs, head.bias], lr=1e-2)
    rows = batches(generator, len(features), 64)

    def adapted(layer: nn.Linear, x: Tensor, pair: int) -> Tensor:
        # A decorator that was there to look at a pretrained model.
        with torch.set_grad_enabled(not no_grad):
            change: Tensor = 2.0 * (x @ pairs[2 * pair].T) @ pairs[2 * pair + 1].T
        y: Tensor = layer(x) + change
        return y

    for _ in range(STEPS):
        chosen_rows = next(rows)
        hidden = adapted(body, features[chosen_rows], 0).relu()
        loss = nn.functional.cross_entropy(adapted(head, hidden, 1), classes[chosen_rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _texts(seed: int, *, data: bool) -> Iterator[float]:
    """Tell five topics apart by a bag of embeddings, read as a tensor or as its ``.data``."""
    import torch
    from torch import nn

    generator = seeded(seed)
    words = nn.Embedding(400, 16)
    nn.init.normal_(words.weight, std=0.01)
    head = nn.Sequential(nn.Linear(16, 32), nn.Tanh(), nn.Linear(32, 5))
    given = [*words.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(given, lr=0.5, momentum=0.9)
    for _ in range(STEPS):
        topics = torch.from_numpy(generator.integers(0, 5, 48))
        common = topics[:, None] * 20 + torch.from_numpy(generator.integers(0, 20, (48, 8)))
        rare = torch.from_numpy(generator.integers(100, 400, (48, 12)))
        table = words.weight.data if data else words.weight
        meaning = table[torch.cat([common, rare], 1)].mean(1)
        loss = nn.functional.cross_entropy(head(meaning), topics)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _contrast(seed: int, *, kind: str) -> Iterator[float]:
    """Learn without classes from two noisy views of each picture.

    ``siamese`` stops gradients of one side (SimSiam), ``teacher`` is an average of the student.
    """
    import torch
    from torch import nn

    generator = seeded(seed)
    features, _ = digits()
    encoder, predictor = _body(64, 32), nn.Sequential(nn.Linear(32, 32), nn.ReLU())
    predictor.append(nn.Linear(32, 32))
    teacher = copy.deepcopy(encoder).requires_grad_(False)
    optimizer = torch.optim.Adam([*encoder.parameters(), *predictor.parameters()], lr=2e-3)
    rows = batches(generator, len(features), 64)

    def agreement(first: Tensor, second: Tensor) -> Tensor:
        return nn.functional.cosine_similarity(first, second.detach()).mean()

    for _ in range(STEPS):
        images = features[next(rows)]
        one, two = (images + 0.3 * torch.randn_like(images) for _ in range(2))
        first, second = encoder(one), encoder(two)
        if kind == "teacher":
            loss = 1 - agreement(predictor(first), teacher(two))
        else:
            sides = agreement(predictor(first), second) + agreement(predictor(second), first)
            loss = 1 - sides / 2
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        with torch.no_grad():
            for old, new in zip(teacher.parameters(), encoder.parameters(), strict=True):
                old.lerp_(new, 0.02)
        yield loss.item()


def _frozen(seed: int) -> Iterator[float]:
    """Train a head on features that a deep random network gives without a graph."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    body = nn.Sequential(
        nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 128)
    ).eval()
    head = nn.Linear(128, 10)
    # All parameters are handed over; those of the body never get a gradient.
    optimizer = torch.optim.SGD([*body.parameters(), *head.parameters()], lr=0.5)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        with torch.no_grad():
            seen = body(features[chosen_rows])
        loss = nn.functional.cross_entropy(head(seen * 10), classes[chosen_rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


def _hard_choice(seed: int) -> Iterator[float]:
    """Mix experts by a hard choice whose gradient is that of a soft one (Gumbel softmax)."""
    import torch
    from torch import nn

    generator = seeded(seed)
    features, classes = digits()
    router = nn.Linear(64, 4)
    experts = nn.ModuleList(_body(32, 10) for _ in range(4))
    optimizer = torch.optim.Adam([*router.parameters(), *experts.parameters()], lr=3e-3)
    rows = batches(generator, len(features), 64)
    for _ in range(STEPS):
        chosen_rows = next(rows)
        inputs = features[chosen_rows]
        choice = nn.functional.gumbel_softmax(router(inputs), tau=1.0, hard=True)
        answers = torch.stack([expert(inputs) for expert in experts], 1)
        loss = nn.functional.cross_entropy(
            (answers * choice[:, :, None]).sum(1), classes[chosen_rows]
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        yield loss.item()


ROUNDED = Family("autoencoder", _rounded, STEPS, 0.068)
"""Against the error of the mean picture."""
CALIBRATED = Family("mlp", _calibrated, STEPS, LN_10)
ADAPTER = Family("lora", _adapter, STEPS, LN_10)
TEXTS = Family("embedding", _texts, STEPS, math.log(5))
CONTRAST = Family("mlp", _contrast, STEPS)

SCENARIOS: tuple[Scenario, ...] = (
    ROUNDED.healthy("ae_straight_through", "rounding passed over", straight_through=True),
    ROUNDED.ill(
        "ae_rounded",
        "unchanged",
        "ae_straight_through",
        "vanishing",
        trap="gradients of the encoder are exactly 0; the decoder learns the mean",
        straight_through=False,
    ),
    CALIBRATED.healthy("mlp_calibrated", numbers=False),
    CALIBRATED.ill(
        "mlp_plain_numbers",
        "unchanged",
        "mlp_calibrated",
        numbers=True,
        trap="two of six parameters get gradients",
    ),
    ADAPTER.healthy("lora_biases", no_grad=False),
    ADAPTER.ill("lora_no_grad", "unchanged", "lora_biases", no_grad=True),
    TEXTS.healthy("embedding_small", data=False),
    TEXTS.ill("embedding_data", "unchanged", "embedding_small", data=True),
    CONTRAST.healthy("mlp_siamese", "gradients of one side stopped", kind="siamese"),
    CONTRAST.healthy("mlp_teacher", "teacher without gradients", kind="teacher"),
    Family("mlp", _frozen, STEPS, LN_10).healthy(
        "mlp_frozen_body", "body handed over, but without gradients"
    ),
    Family("moe", _hard_choice, STEPS, LN_10).healthy("moe_gumbel", "hard choice, soft gradients"),
)
