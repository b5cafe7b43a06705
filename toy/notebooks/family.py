# %% [markdown]
# # Exact fields as a family: from PaDiM to PatchCore
#
# The best velocity for Eq. 4 is a conditional mean, u(x, t) = E[x1 − x0 | x_t = x], on the way
# x_t = (1 − t)·x0 + t·x1 from data to a Gaussian. For Gaussian data, x0 ~ N(μ, Σ), all of it is
# Gaussian: x_t ~ N((1 − t)μ, Σ_t) with Σ_t = (1 − t)²Σ + t²I, and with w = Σ_t⁻¹(x − (1 − t)μ)
#
# u(x, t) = t·w − μ − (1 − t)·Σw = −μ + ½·(dΣ_t/dt)·w.
#
# **PaDiM.** Along u the vector Σ_t^(−1/2)(x_t − (1 − t)μ) does not change, since all Σ_t
# commute. At t = 0 it is Σ^(−1/2)(x0 − μ) and at t = 1 it is x̂1: the flow is ZCA whitening, and
# ‖x̂1‖ is Mahalanobis' distance.
#
# **Mixtures.** For x0 ~ Σ w_k·N(μ_k, Σ_k) the mean is taken in two steps, which component and
# then where in it: u = Σ r_k·u_k, with r_k the probability of component k given x_t = x.
#
# **PatchCore.** As many components as data, without spread: E[x0 | x_t = x] is a mean of data
# that are weighted by exp(−‖x − (1 − t)x_i‖²/(2t²)). At x_T = (1 − T)·x0 and T → 0 only the
# nearest is left, and the residual x0 − E[x0 | x_T] is as long as the distance to it.
#
# **Narrow networks.** A network whose last layer has b channels answers in b dimensions. Outside
# them its velocity is one constant, and whatever the solver x̂1 is x0 there, moved by the same
# for all.
#
# **The radius.** The flow of u carries the law of the data through the laws of x_t, so the mean
# of ‖x_t‖² is (1 − t)²E‖x0‖² + t²D: it falls first and ends at D (Observation 2; Observation 1,
# that it ends below, is what a trained network does).
#
# The functions are in `toy/family.py`, the proofs in `docs/method.md`, real features in
# `docs/geometry.md`.

# %%
import os
import sys

from IPython.display import Image

sys.path.insert(0, "..")
import family
import plane

print(family.__doc__)

# %%
result = family.compute(smoke="WTFLOW_SMOKE" in os.environ)
print("\n".join(family.summary(result)))

# %%
Image(plane.png(family.plot(result)))
