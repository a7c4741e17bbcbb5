"""What a program computes: arrays that are computed once and never change."""
