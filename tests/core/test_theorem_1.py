"""Theorem 1 and Table 1: which term admits which failure mode as an optimum.

On a space of eight points, where the normaliser of p(x) is a sum, solutions are constructed that
fail in one way, and each term is compared with its optimum: H(p) for the exact -L_GEN, 0 for
-L_INV, log c for -L_PRIOR.
"""

import math

import pytest
import torch

from solo_gedi.core import invariance_loss, log_density, prior_loss
from solo_gedi.core.failure_modes import (
    cluster_entropy,
    effective_rank,
    feature_std,
    largest_cluster_share,
    permutation_gap,
    view_agreement,
)

POINTS, CLUSTERS, SURE = 8, 2, 60.0
DENSITY = torch.tensor([0.3, 0.2, 0.15, 0.1, 0.1, 0.05, 0.05, 0.05], dtype=torch.float64)
TRUE = torch.tensor([0, 0, 1, 1, 0, 1, 0, 1])


def logits_of(clusters, log_p):
    """Confident logits with given clusters and log p(x)."""
    one_hot = torch.nn.functional.one_hot(clusters, CLUSTERS).double()
    return log_p[:, None] - SURE * (1 - one_hot)


GOOD = logits_of(TRUE, DENSITY.log())
ONE_CLUSTER = logits_of(torch.zeros_like(TRUE), DENSITY.log())
CONSTANT_SURE = torch.tensor([[0.0, -SURE]], dtype=torch.float64).repeat(POINTS, 1)
CONSTANT_UNSURE = torch.zeros(POINTS, CLUSTERS, dtype=torch.float64)


def generative(logits):
    """CE(p, p_Theta) with the exact normaliser; its minimum is H(p)."""
    log_p = log_density(logits)
    return (DENSITY * (log_p.logsumexp(0) - log_p)).sum()


def invariance(logits):
    """Both views of a point have the same logits, as an invariant network gives them."""
    return invariance_loss(logits, logits)


OPTIMUM = {
    "gen": -(DENSITY * DENSITY.log()).sum().item(),
    "inv": 0.0,
    "prior": math.log(CLUSTERS),
}
TERMS = {"gen": generative, "inv": invariance, "prior": prior_loss}


def attains(term, *solutions):
    return any(math.isclose(TERMS[term](s), OPTIMUM[term], abs_tol=1e-9) for s in solutions)


# Table 1, read as "admits": the opposite of "penalises".
ADMITS = {
    ("gen", "representation collapse"): False,
    ("gen", "cluster collapse"): True,
    ("inv", "representation collapse"): True,
    ("inv", "cluster collapse"): True,
    ("prior", "representation collapse"): True,
    ("prior", "cluster collapse"): False,
}
COLLAPSED = {
    "representation collapse": (CONSTANT_SURE, CONSTANT_UNSURE),
    "cluster collapse": (ONE_CLUSTER,),
}


@pytest.mark.parametrize(("term", "mode"), ADMITS)
def test_a_collapse_attains_the_optimum_just_where_theorem_1_says(term, mode):
    assert attains(term, *COLLAPSED[mode]) is ADMITS[term, mode]


def test_the_good_solution_attains_every_optimum():
    assert all(attains(term, GOOD) for term in TERMS)


def test_no_collapse_attains_all_three():
    for solutions in COLLAPSED.values():
        for solution in solutions:
            assert not all(attains(term, solution) for term in TERMS)


def test_only_the_invariance_term_sees_permuted_assignments():
    order = torch.randperm(POINTS, generator=torch.Generator().manual_seed(1))
    assert not torch.equal(TRUE[order], TRUE)
    permuted = GOOD[order]
    uniform = torch.full((POINTS,), 1 / POINTS, dtype=torch.float64)
    log_p, permuted_log_p = log_density(GOOD), log_density(permuted)
    # Definition 3 permutes the data set: its empirical density goes along.
    assert (uniform * log_p).sum().item() == pytest.approx((uniform * permuted_log_p).sum().item())
    assert prior_loss(GOOD).item() == pytest.approx(prior_loss(permuted).item())
    assert invariance_loss(GOOD, GOOD).item() == pytest.approx(0, abs=1e-9)
    assert invariance_loss(permuted, GOOD).item() > 1


def test_measures_tell_the_good_solution_from_the_collapsed_ones():
    generator = torch.Generator().manual_seed(0)
    assert cluster_entropy(GOOD).item() == pytest.approx(math.log(2))
    assert largest_cluster_share(GOOD).item() == pytest.approx(0.5)
    assert view_agreement(GOOD, GOOD).item() == 1
    assert permutation_gap(GOOD, GOOD, generator).item() > 1
    assert cluster_entropy(ONE_CLUSTER).item() == pytest.approx(0, abs=1e-12)
    assert largest_cluster_share(ONE_CLUSTER).item() == 1
    assert permutation_gap(ONE_CLUSTER, ONE_CLUSTER, generator).item() == pytest.approx(0)


def test_feature_measures_see_representation_collapse():
    torch.manual_seed(0)
    spread = torch.randn(500, 6, dtype=torch.float64)
    line = torch.randn(500, 1, dtype=torch.float64) * torch.ones(6, dtype=torch.float64)
    constant = torch.ones(500, 6, dtype=torch.float64)
    assert feature_std(spread).item() == pytest.approx(1, rel=0.1)
    assert feature_std(constant).item() == 0
    assert effective_rank(spread).item() == pytest.approx(6, rel=0.02)
    assert effective_rank(line).item() == pytest.approx(1, abs=1e-6)
    assert effective_rank(constant).item() == pytest.approx(1)
