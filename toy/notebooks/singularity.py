# %% [markdown]
# # Theorem 2: the initial singularity
#
# The exact field of finitely many data is as steep as 1/t. The network, whose slope is bounded,
# cannot follow, and its error grows to that of answering nothing.
#
# The functions are in `toy/singularity.py`; what was found is in `docs/toys.md`.

# %%
import os
import sys

from IPython.display import Image

sys.path.insert(0, "..")
import plane
import singularity

print(singularity.__doc__)

# %%
result = singularity.compute(smoke="WTFLOW_SMOKE" in os.environ)
print("\n".join(singularity.summary(result)))

# %%
Image(plane.png(singularity.plot(result)))
