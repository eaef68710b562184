"""Exercises that answer: sixteen functions to write, from counting windows to a test that catches wrong convolutions.

A check calls the student's function with fresh random integers, and answers in three steps: the smallest failing case,
a question, and the mistake. ``npresnext learn`` does this for files; in a notebook, call :func:`check`.
"""

from .answers import Answer
from .exercise import Exercise
from .exercises import EXERCISES, find_exercise
from .notebook import check
from .scoring import TestScore, score_test

__all__ = ["EXERCISES", "Answer", "Exercise", "TestScore", "check", "find_exercise", "score_test"]
