"""Networks: members, the Hydra student, their heads, their files and what they cost. No Ray."""
