# %% [markdown]
# # Figure 2: one point, all targets
#
# Each training step draws another target for the same point. What is left of all these
# velocities is their mean, −x.
#
# The functions are in `toy/coupling.py`; what was found is in `docs/toys.md`.

# %%
import os
import sys

from IPython.display import Image

sys.path.insert(0, "..")
import coupling
import plane

print(coupling.__doc__)

# %%
result = coupling.compute(smoke="WTFLOW_SMOKE" in os.environ)
print("\n".join(coupling.summary(result)))

# %%
Image(plane.png(coupling.plot(result)))
