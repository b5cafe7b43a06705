# %% [markdown]
# # Equation 13: V(d) = −d
#
# The pull towards the centre does not depend on the target, only on the distance, for every
# target centred at the origin.
#
# The functions are in `toy/potential.py`; what was found is in `docs/toys.md`.

# %%
import os
import sys

from IPython.display import Image

sys.path.insert(0, "..")
import plane
import potential

print(potential.__doc__)

# %%
result = potential.compute(smoke="WTFLOW_SMOKE" in os.environ)
print("\n".join(potential.summary(result)))

# %%
Image(plane.png(potential.plot(result)))
