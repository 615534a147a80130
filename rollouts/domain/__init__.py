"""The rules of the game, pure: no Django, no IO, no clock, no chance.

``plan`` what steps are, ``state`` what is known, ``decide`` what follows, ``guard`` the two
promises that no rule may break, ``traffic`` arithmetic on request counts and latencies.
"""
