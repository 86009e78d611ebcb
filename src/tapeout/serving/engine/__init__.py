"""One engine replica, step by step: rules, step costs, a readable reference and a fast kernel."""
