"""Write what scikit-learn finds in vectors of concepts, for crates/attr-testkit/golden/strategies.json.

Mixtures of one component have one solution, and so have well separated groups: results do not depend on
random numbers. The graph of neighbors is CoRelAy's: each row is joined with its nearest ones by 1, and the
result averaged with its transpose.

    pip install -r requirements.txt
    python strategies.py
"""

import json
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans, SpectralClustering
from sklearn.metrics import silhouette_score
from sklearn.mixture import GaussianMixture

NEIGHBORS, EIGENVALUES, GROUPS = 10, 12, 3

rng = np.random.default_rng(7)
centers = rng.normal(size=(GROUPS, 8)) * 0.3
rows = np.concatenate([center + 0.08 * rng.normal(size=(20, 8)) for center in centers])
# As an index holds them.
rows = rng.permutation(rows).astype(np.float16).astype(np.float64)

distances = np.linalg.norm(rows[:, None] - rows[None], axis=2)
nearest = distances.argsort(1)[:, 1 : NEIGHBORS + 1]
graph = np.zeros(distances.shape)
np.put_along_axis(graph, nearest, 1, axis=1)
graph = (graph + graph.T) / 2
scale = graph.sum(1) ** -0.5
eigenvalues = 1 - np.linalg.eigvalsh(scale[:, None] * graph * scale)[::-1]
spectral = SpectralClustering(GROUPS, affinity="precomputed", random_state=0).fit_predict(graph)
means = KMeans(2, n_init=20, random_state=0).fit_predict(rows)


def log_likelihoods(covariance: str) -> list[float]:
    mixture = GaussianMixture(1, covariance_type=covariance, reg_covar=1e-4)
    return mixture.fit(rows).score_samples(rows).tolist()


golden = {
    "rows": rows.tolist(),
    "full": log_likelihoods("full"),
    "diagonal": log_likelihoods("diag"),
    "n_neighbors": NEIGHBORS,
    "eigenvalues": eigenvalues[:EIGENVALUES].tolist(),
    "groups": spectral.tolist(),
    "halves": means.tolist(),
    "silhouette": silhouette_score(rows, means),
}
path = Path(__file__).parents[2] / "crates/attr-testkit/golden/strategies.json"
path.write_text(json.dumps(golden) + "\n")
