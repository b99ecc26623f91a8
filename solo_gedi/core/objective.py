"""The GEDI objective: the weighted sum of its terms (Eq. 5), returned term by term."""

import torch
from torch import Tensor

from solo_gedi.core.energy import log_density
from solo_gedi.core.losses import generative_loss, invariance_loss, prior_loss


class GEDIObjective:
    """loss = w_gen L_GEN + w_inv L_INV + w_prior L_PRIOR + energy_l2 * L2 of the log-densities.

    A term of weight 0 is not computed and needs no input.

    Args:
        gen: weight of the generative term; needs samples.
        inv: weight of the invariance term; needs a second view.
        prior: weight of the prior (uniformity) term.
        energy_l2: weight of the mean square of the log-densities of data and samples. Not in the
            paper: it keeps the energies, which the generative term leaves without a scale, from
            running away.
        cluster_prior: (c,) probabilities p(y) of the clusters; uniform when None.

    Raises:
        ValueError: for a negative weight, none that is positive, or `energy_l2` without `gen`.
    """

    def __init__(
        self,
        gen: float = 1.0,
        inv: float = 50.0,
        prior: float = 25.0,
        energy_l2: float = 0.0,
        cluster_prior: Tensor | None = None,
    ) -> None:
        self.weights = {"gen": gen, "inv": inv, "prior": prior, "energy_l2": energy_l2}
        for name, weight in self.weights.items():
            if not weight >= 0:
                raise ValueError(f"the weight of {name} must be at least 0, got {weight}")
        if not gen + inv + prior > 0:
            raise ValueError("one of the weights gen, inv and prior must be positive")
        if energy_l2 > 0 and not gen > 0:
            raise ValueError("energy_l2 needs the generative term, whose densities it bounds")
        self.cluster_prior = cluster_prior

    @property
    def needs_samples(self) -> bool:
        """Whether the generative term is on."""
        return self.weights["gen"] > 0

    @property
    def needs_view(self) -> bool:
        """Whether the invariance term is on."""
        return self.weights["inv"] > 0

    def __call__(
        self,
        logits: Tensor,
        view_logits: Tensor | None = None,
        sample_log_density: Tensor | None = None,
        data_log_density: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Compute the terms that are on.

        Args:
            logits: (n, c) of the points x.
            view_logits: (n, c) of their second view x'; needed by the invariance term.
            sample_log_density: (m,) log p of SGLD samples; needed by the generative term.
            data_log_density: (n,) log p(x) where it is not that of `logits`, as with batch norm,
                whose training-mode logits depend on the batch.

        Returns:
            `loss` and, unweighted, each term that is on: `gen`, `inv`, `prior`, `energy_l2`.

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
                square = data_log_density.square().mean() + sample_log_density.square().mean()
                terms["energy_l2"] = square
        if self.needs_view:
            if view_logits is None:
                raise ValueError("the invariance term needs view_logits")
            terms["inv"] = invariance_loss(logits, view_logits)
        if self.weights["prior"] > 0:
            terms["prior"] = prior_loss(logits, self.cluster_prior)
        weighted = [self.weights[name] * term for name, term in terms.items()]
        return {"loss": torch.stack(weighted).sum(), **terms}
