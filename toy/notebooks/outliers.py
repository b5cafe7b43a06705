# %% [markdown]
# # Figure 8: what can be told apart
#
# The flow is trained on N(0, I) towards N(0, I): it has nothing to do there. Outliers inside
# that support look like normals to it; an AUROC below one half says that they look more normal
# than the normals.
#
# The functions are in `toy/outliers.py`; what was found is in `docs/toys.md`.

# %%
import os
import sys

from IPython.display import Image

sys.path.insert(0, "..")
import outliers
import plane

print(outliers.__doc__)

# %%
result = outliers.compute(smoke="WTFLOW_SMOKE" in os.environ)
print("\n".join(outliers.summary(result)))

# %%
Image(plane.png(outliers.plot(result)))
