"""What a user imports: estimators in scikit-learn's style."""
