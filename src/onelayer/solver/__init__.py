"""The optimum of the cost, with a proof: certificate, solver, λ path, learning-rate advice.

solve       the argmin for one λ, with a proven gap
certify     how far any model is from it
solve_path  many λ's, each certified, one chosen on held-out rows
suggest     which learning rates are stable
"""

from onelayer.model.model import Certificate
from onelayer.solver.certificate import certify
from onelayer.solver.learning_rate import Advice, suggest
from onelayer.solver.path import Choice, Path, PathProgress, Score, l2_grid, solve_path
from onelayer.solver.solver import Optimum, Progress, solve

__all__ = [
    "Advice",
    "Certificate",
    "Choice",
    "Optimum",
    "Path",
    "PathProgress",
    "Progress",
    "Score",
    "certify",
    "l2_grid",
    "solve",
    "solve_path",
    "suggest",
]
