"""The optimum of the cost, with a proof: certificate, solver, λ path, learning-rate advice.

solve       the argmin for one λ, with a proven gap
certify     how far any model is from it
solve_path  many λ's, each certified, one chosen on held-out rows
suggest     which learning rates are stable
"""

from onelayer.optimum.advice import Advice
from onelayer.optimum.certificate import Certificate
from onelayer.optimum.choice import Choice
from onelayer.optimum.dataset import certify, solve, suggest
from onelayer.optimum.path import Path, PathProgress, l2_grid, solve_path
from onelayer.optimum.score import Score
from onelayer.optimum.solver import Optimum, Progress

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
