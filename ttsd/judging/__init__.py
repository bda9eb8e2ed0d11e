"""Judges attempts: finds the program or the answer, has it run or compared, and words the feedback."""
