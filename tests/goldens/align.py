"""The similarity transform from five points to ArcFace's template, as scikit-image finds it (Umeyama): where points of the frame lie in
the picture, for the test in src/dataset/align.rs.

    pip install scikit-image==0.26.0 && python tests/goldens/align.py
"""

import numpy as np
from skimage.transform import SimilarityTransform

TEMPLATE = np.array([[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]])
POINTS = np.array([[106.0, 113.0], [144.0, 110.0], [127.0, 140.0], [109.0, 153.0], [147.0, 152.0]])

fit = SimilarityTransform.from_estimate(POINTS, TEMPLATE)
for point in [[0.0, 0.0], [111.0, 0.0], [0.0, 111.0], [55.5, 55.5]]:
    print(point, fit.inverse(point)[0].round(9).tolist())
