"""The policy of `rnn_ppo`: an LSTM that takes one choice after the other."""

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["Policy"]


class Policy(nn.Module):
    """p(tokens) = product over the choices of p(token | tokens before it)."""

    def __init__(self, sizes: list[int], hidden: int) -> None:
        """`sizes`: number of options of each of the C choices."""
        super().__init__()
        self.sizes = sizes
        offsets = np.concatenate([[0], np.cumsum(sizes)])
        # one embedding table for all tokens; row 0 starts the sequence, choice c's option i is row 1 + offset[c] + i
        self.offsets = torch.from_numpy(1 + offsets[:-1])
        self.embedding = nn.Embedding(1 + int(offsets[-1]), hidden)
        self.cell = nn.LSTM(hidden, hidden, batch_first=True)
        heads = [nn.Linear(hidden, size) for size in sizes]
        for head in heads:  # all options equally likely at first
            nn.init.zeros_(head.weight)
            nn.init.zeros_(head.bias)
        self.heads = nn.ModuleList(heads)

    def forward(self, tokens: Tensor, active: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(n, C) tokens -> (n,) log-probabilities, (n,) mean entropies of the C choices, in nats.

        Where `active` (n, C) is false a choice does not matter for the network: it counts in neither.
        """
        n = len(tokens)
        start = torch.zeros(n, 1, dtype=torch.int64)
        inputs = torch.cat([start, (tokens + self.offsets)[:, :-1]], dim=1)
        states, _ = self.cell(self.embedding(inputs))  # (n, C, hidden)
        log_prob = torch.zeros(n)
        entropy = torch.zeros(n)
        for c, head in enumerate(self.heads):
            log_p = head(states[:, c]).log_softmax(-1)  # (n, options)
            counts = torch.ones(n) if active is None else active[:, c].float()
            log_prob = log_prob + counts * log_p.gather(1, tokens[:, c : c + 1]).squeeze(1)
            entropy = entropy - counts * (log_p.exp() * log_p).sum(-1)
        return log_prob, entropy / len(self.sizes)

    def sample(self, n: int, generator: torch.Generator) -> Tensor:
        """(n, C) tokens, each choice given the ones before it."""
        token = torch.zeros(n, dtype=torch.int64)
        state = None
        tokens = []
        for c, head in enumerate(self.heads):
            output, state = self.cell(self.embedding(token)[:, None], state)
            p = head(output[:, 0]).softmax(-1)
            picked = torch.multinomial(p, 1, generator=generator).squeeze(1)
            tokens.append(picked)
            token = picked + self.offsets[c]
        return torch.stack(tokens, dim=1)
