"""The optimum of the cost, with a proof.

solve                  the best model of one λ
solve_path             many λ, each certified, one chosen on held-out rows
certify                how far any model is from the lowest cost
suggest_learning_rate  which learning rates are stable
"""

from onelayer.solver.certificate import certify
from onelayer.solver.learning_rate import LearningRateBounds, suggest_learning_rate
from onelayer.solver.path import Path, PathProgress
from onelayer.solver.selection import Choice, Score
from onelayer.solver.solve import solve, solve_path
from onelayer.solver.solver import Progress

__all__ = [
    "Choice",
    "LearningRateBounds",
    "Path",
    "PathProgress",
    "Progress",
    "Score",
    "certify",
    "solve",
    "solve_path",
    "suggest_learning_rate",
]
