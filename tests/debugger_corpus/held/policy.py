"""REINFORCE on a small environment whose states each have one right action."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from tests.debugger_corpus.held import _tools
from tests.debugger_corpus.scenario import Scenario

if TYPE_CHECKING:
    from torch import nn

STEPS = 200
STATES, ACTIONS, ROUNDS = 6, 4, 8


def _networks(*, scale: float) -> tuple[nn.Module, nn.Module]:
    from torch import nn

    policy = nn.Sequential(nn.Linear(STATES, 32), nn.Tanh(), nn.Linear(32, ACTIONS))
    value = nn.Sequential(nn.Linear(STATES, 32), nn.Tanh(), nn.Linear(32, 1))
    nn.init.normal_(policy[2].weight, std=scale)  # type: ignore[arg-type]
    return policy, value


def _train(
    seed: int,
    *,
    lr: float = 1e-2,
    scale: float = 0.01,
    critic: bool = False,
    spread: float | None = 1e-6,
    entropy: float = 0.01,
    easy: bool = False,
    without_gradient: bool = False,
) -> Iterator[float]:
    """Yield how many rewards of an episode were missed, from 0 to the number of rounds."""
    import torch
    from torch.nn import functional

    rng = _tools.seeded(seed)
    policy, value = _networks(scale=scale)
    actor = torch.optim.Adam(policy.parameters(), lr=lr)
    learner = torch.optim.Adam(value.parameters(), lr=1e-2)
    right = torch.from_numpy(rng.integers(1, ACTIONS, STATES))
    if easy:
        right[:] = 1
    for _ in range(STEPS):
        states = torch.from_numpy(rng.integers(0, STATES, (32, ROUNDS)))
        seen = functional.one_hot(states, STATES).float()
        logits = policy(seen)
        # Drawn by the Gumbel trick, which has no trouble with NaN.
        noise = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-6, 1 - 1e-6)))
        actions = (logits.detach() + noise).argmax(-1)
        chosen = logits.log_softmax(-1).gather(-1, actions[..., None])[..., 0]
        if without_gradient:
            # The probabilities were kept as numbers while the episodes were played.
            chosen = torch.tensor(chosen.tolist(), requires_grad=True)
        rewards = (actions == right[states]).float()
        returns = rewards.flip(1).cumsum(1).flip(1) if critic else rewards.sum(1, keepdim=True)
        if critic:
            guess = value(seen)[..., 0]
            advantage = returns - guess.detach()
            learner.zero_grad()
            functional.mse_loss(guess, returns).backward()
            learner.step()
        else:
            advantage = returns - returns.mean()
        if spread is not None:
            advantage = advantage / (returns.std() + spread)
        bonus = -(logits.softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()
        loss = -(advantage * chosen).mean() - entropy * bonus * (not without_gradient)
        actor.zero_grad()
        loss.backward()
        actor.step()
        yield ROUNDS - rewards.sum(1).mean().item()


_run = partial(Scenario, half="held", architecture="policy", steps=STEPS)
CHANCE = ROUNDS * (1 - 1 / ACTIONS)

SCENARIOS: tuple[Scenario, ...] = (
    _run(
        name="policy_reinforce",
        kind="healthy",
        train=_train,
        trap="the loss goes about 0, and says nothing; gradients shrink as the policy succeeds",
    ),
    _run(
        name="policy_critic",
        kind="healthy",
        train=partial(_train, critic=True),
        trap="two networks, two optimizers, two losses",
    ),
    _run(
        name="policy_easy",
        kind="healthy",
        train=partial(_train, easy=True, entropy=0.0, lr=1e-2),
        trap="solved soon: advantages, and gradients, are exactly 0 from then on",
    ),
    _run(
        name="policy_no_spread",
        kind="non_finite",
        train=partial(_train, easy=True, entropy=0.0, lr=1e-2, spread=0.0),
        onset=20,
        twin="policy_easy",
        trap="solved, all returns alike, and 0 / 0 in the normalisation of advantages",
    ),
    _run(
        name="policy_saturated",
        kind="saturated",
        train=partial(_train, scale=200.0),
        also=frozenset({"initialization", "vanishing"}),
        twin="policy_reinforce",
        chance=CHANCE,
        trap="the policy is certain from the start, of wrong actions",
    ),
    _run(
        name="policy_probabilities_as_numbers",
        kind="unchanged",
        train=partial(_train, without_gradient=True),
        twin="policy_reinforce",
        trap="the graph is cut where episodes are stored",
    ),
)
