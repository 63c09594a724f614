-- Without statistics the planner would take a hundred thousand entries for a few.
ANALYZE review_chosen
