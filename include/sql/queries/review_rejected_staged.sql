-- Whether a batch would publish a row that was rejected since the gate saw it.
SELECT EXISTS (SELECT FROM {staging} s JOIN gate_rejected q ON {same_row}
               WHERE s.stage_id = %(stage_id)s AND s.withheld IS NULL) AS found
