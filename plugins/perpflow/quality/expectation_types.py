"""The expectation types of Great Expectations that a suite may use, and their arguments: a frozen copy.

Importing Great Expectations takes seconds, and suites are validated when DAGs are parsed. A test compares this copy
with the installed library and prints what has to change. Types that the library can't evaluate in SQL are left out.
"""

from __future__ import annotations

from typing import Literal

#: SQL of the suite's own: the query gives the rows that fail.
QUERY_TYPE = "unexpected_rows_expectation"

#: Types that judge rows one by one: exactly the rows that fail can be withheld. With their arguments, `?` for those
#: that may be left out.
ROW_TYPES: dict[str, str] = {
    "expect_column_pair_values_a_to_be_greater_than_b": "column_A column_B or_equal? ignore_row_if?",
    "expect_column_pair_values_to_be_equal": "column_A column_B ignore_row_if?",
    "expect_column_pair_values_to_be_in_set": "column_A column_B value_pairs_set ignore_row_if?",
    "expect_column_value_lengths_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_value_lengths_to_equal": "column value",
    "expect_column_value_z_scores_to_be_less_than": "column threshold double_sided",
    "expect_column_values_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_values_to_be_in_set": "column value_set",
    "expect_column_values_to_be_null": "column",
    "expect_column_values_to_be_unique": "column",
    "expect_column_values_to_match_like_pattern": "column like_pattern escape?",
    "expect_column_values_to_match_like_pattern_list": "column like_pattern_list match_on? escape?",
    "expect_column_values_to_match_regex": "column regex?",
    "expect_column_values_to_match_regex_list": "column regex_list match_on?",
    "expect_column_values_to_not_be_in_set": "column value_set",
    "expect_column_values_to_not_be_null": "column",
    "expect_column_values_to_not_be_outliers": "column method? multiplier?",
    "expect_column_values_to_not_match_like_pattern": "column like_pattern escape?",
    "expect_column_values_to_not_match_like_pattern_list": "column like_pattern_list escape?",
    "expect_column_values_to_not_match_regex": "column regex",
    "expect_column_values_to_not_match_regex_list": "column regex_list",
    "expect_compound_columns_to_be_unique": "column_list ignore_row_if?",
    "expect_multicolumn_sum_to_equal": "column_list ignore_row_if? sum_total",
    "expect_multicolumn_values_to_be_equal": "column_list ignore_row_if?",
    "expect_select_column_values_to_be_unique_within_record": "column_list ignore_row_if?",
}

#: Types that judge the batch as a whole: if one that is critical fails, every row of the batch is withheld.
BATCH_TYPES: dict[str, str] = {
    "expect_column_distinct_values_to_be_in_set": "column value_set",
    "expect_column_distinct_values_to_contain_set": "column value_set",
    "expect_column_distinct_values_to_equal_set": "column value_set",
    "expect_column_kl_divergence_to_be_less_than": (
        "column partition_object? threshold? internal_weight_holdout? tail_weight_holdout? bucketize_data?"
        " min_value? max_value?"
    ),
    "expect_column_max_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_mean_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_median_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_min_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_most_common_value_to_be_in_set": "column value_set ties_okay?",
    "expect_column_proportion_of_non_null_values_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_proportion_of_unique_values_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_quantile_values_to_be_between": "column quantile_ranges allow_relative_error?",
    "expect_column_stdev_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_sum_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_column_to_exist": "column column_index?",
    "expect_column_type_to_be": "column type_",
    "expect_column_unique_value_count_to_be_between": "column min_value? max_value? strict_min? strict_max?",
    "expect_query_results_to_match_comparison": "base_query comparison_data_source_name comparison_query",
    "expect_table_column_count_to_be_between": "min_value? max_value?",
    "expect_table_column_count_to_equal": "value",
    "expect_table_columns_to_match_ordered_list": "column_list?",
    "expect_table_columns_to_match_set": "column_set? exact_match?",
    "expect_table_row_count_to_be_between": "min_value? max_value? strict_min? strict_max?",
    "expect_table_row_count_to_equal": "value",
    "expect_table_row_count_to_equal_other_table": "other_table_name",
}

ARGUMENTS: dict[str, str] = ROW_TYPES | BATCH_TYPES | {QUERY_TYPE: "unexpected_rows_query"}

#: What a value of an argument has to be.
Kind = Literal["true or false", "a number", "a number or an instant", "a text", "a list", "an object", "SQL"]
KINDS: dict[str, Kind] = {
    **dict.fromkeys(("strict_min", "strict_max", "or_equal", "double_sided", "ties_okay"), "true or false"),
    **dict.fromkeys(("exact_match", "bucketize_data"), "true or false"),
    **dict.fromkeys(("min_value", "max_value"), "a number or an instant"),
    **dict.fromkeys(("value", "threshold", "multiplier", "sum_total", "column_index"), "a number"),
    **dict.fromkeys(("internal_weight_holdout", "tail_weight_holdout"), "a number"),
    **dict.fromkeys(("column", "column_A", "column_B", "type_", "other_table_name"), "a text"),
    **dict.fromkeys(("regex", "like_pattern", "escape", "match_on", "method", "ignore_row_if"), "a text"),
    **dict.fromkeys(("base_query", "comparison_query", "comparison_data_source_name"), "a text"),
    "allow_relative_error": "a text",
    **dict.fromkeys(("value_set", "value_pairs_set", "column_list", "column_set"), "a list"),
    **dict.fromkeys(("regex_list", "like_pattern_list"), "a list"),
    **dict.fromkeys(("partition_object", "quantile_ranges"), "an object"),
    "unexpected_rows_query": "SQL",
}
