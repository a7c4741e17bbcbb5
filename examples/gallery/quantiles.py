"""# A Gaussian process for quantiles: what does a household need for food?

**Question.** Engel (1857) noted the income and the food bill of 235 Belgian working households (shipped with
statsmodels). A relief fund wants to cover the food of nine in ten households, whatever their income. How much
is that?

The mean does not answer it: rich households differ much more from each other than poor ones. *Quantile
regression* models the median and the 90 % line themselves.

**Model.** A quantile is a smooth curve of the logarithm of income: a straight line plus a Gaussian process. Data
lie around the curve by an asymmetric Laplace distribution, whose mode is its quantile (Yu and Moyeed, 2001).
"""
