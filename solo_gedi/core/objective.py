"""The GEDI objective, the weighted sum of its terms (Eq. 5)."""

import torch
from torch import Tensor

from solo_gedi.core.energy import log_density
from solo_gedi.core.losses import (
    energy_l2,
    generative_loss,
    gradient_penalty,
    invariance_loss,
    prior_loss,
)


class GEDIObjective:
    """loss = w_gen L_GEN + w_inv L_INV + w_prior L_PRIOR (Eq. 5), plus two stabilising terms.

    A term of weight 0 is not computed and needs no input. The default weights are the paper's on
    SVHN and CIFAR-10 (Table 5); with them most of CIFAR-10 falls into one cluster. For images take
    a `prior` of 25 times the number of clusters, as the recipes do.

    Args:
        gen: weight of the generative term; needs samples.
        inv: weight of the invariance term; needs a second view.
        prior: weight of the prior (uniformity) term.
        energy_l2: weight of the mean square of the log-densities of data and samples.
        grad_penalty: weight of the squared gradient of the log-density at the data.
        cluster_prior: (c,) probabilities p(y) of the clusters; uniform when None.
        gather_distributed: take the prior term over the batches of all processes, see `prior_loss`.

    Raises:
        ValueError: for a negative weight, no positive weight, or a stabilising term without
            `gen`, whose densities it bounds.

    Example:
        >>> objective = GEDIObjective(gen=1, inv=50, prior=10)
        >>> logits, view_logits = torch.randn(2, 64, 10).unbind()
        >>> terms = objective(logits, view_logits, sample_log_density=torch.randn(64))
        >>> sorted(terms)
        ['gen', 'inv', 'loss', 'prior']
    """

    def __init__(
        self,
        gen: float = 1.0,
        inv: float = 50.0,
        prior: float = 25.0,
        energy_l2: float = 0.0,
        grad_penalty: float = 0.0,
        cluster_prior: Tensor | None = None,
        *,
        gather_distributed: bool = False,
    ) -> None:
        self.weights = {
            "gen": gen,
            "inv": inv,
            "prior": prior,
            "energy_l2": energy_l2,
            "grad_penalty": grad_penalty,
        }
        for name, weight in self.weights.items():
            if not weight >= 0:
                raise ValueError(f"the weight of {name} must be at least 0, got {weight}")
        if not gen + inv + prior > 0:
            raise ValueError("one of the weights gen, inv and prior must be positive")
        for name in ("energy_l2", "grad_penalty"):
            if self.weights[name] > 0 and not gen > 0:
                raise ValueError(f"{name} needs the generative term, whose densities it bounds")
        self.cluster_prior, self.gather_distributed = cluster_prior, gather_distributed

    @property
    def needs_samples(self) -> bool:
        """Whether the generative term is on."""
        return self.weights["gen"] > 0

    @property
    def needs_view(self) -> bool:
        """Whether the invariance term is on."""
        return self.weights["inv"] > 0

    @property
    def needs_score(self) -> bool:
        """Whether the gradient penalty is on."""
        return self.weights["grad_penalty"] > 0

    def __call__(
        self,
        logits: Tensor,
        view_logits: Tensor | None = None,
        sample_log_density: Tensor | None = None,
        data_log_density: Tensor | None = None,
        data_score: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the terms that are on.

        Args:
            logits: (n, c) of the points x.
            view_logits: (n, c) of their second view x'; needed by the invariance term.
            sample_log_density: (m,) log p of SGLD samples; needed by the generative term.
            data_log_density: (n,) log p(x); that of `logits` when None. They differ with batch
                norm, whose training-mode logits depend on the batch.
            data_score: (n, ...) grad_x log p(x); needed by the gradient penalty.

        Returns:
            `loss` and, unweighted, each term that is on: `gen`, `inv`, `prior`, `energy_l2`,
            `grad_penalty`.

        Raises:
            ValueError: if the input of a term that is on is missing.
        """
        terms: dict[str, Tensor] = {}
        if self.needs_samples:
            if sample_log_density is None:
                raise ValueError("the generative term needs sample_log_density")
            if data_log_density is None:
                data_log_density = log_density(logits)
            terms["gen"] = generative_loss(data_log_density, sample_log_density)
            if self.weights["energy_l2"] > 0:
                terms["energy_l2"] = energy_l2(data_log_density, sample_log_density)
            if self.needs_score:
                if data_score is None:
                    raise ValueError("the gradient penalty needs data_score")
                terms["grad_penalty"] = gradient_penalty(data_score)
        if self.needs_view:
            if view_logits is None:
                raise ValueError("the invariance term needs view_logits")
            terms["inv"] = invariance_loss(logits, view_logits)
        if self.weights["prior"] > 0:
            terms["prior"] = prior_loss(
                logits, self.cluster_prior, gather_distributed=self.gather_distributed
            )
        weighted = [self.weights[name] * term for name, term in terms.items()]
        return {"loss": torch.stack(weighted).sum(), **terms}
