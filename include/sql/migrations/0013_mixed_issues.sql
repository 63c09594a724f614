-- A file that was issued again may have been read in parts: some rows are of one issue, some of another.
ALTER TABLE archive_objects ADD COLUMN mixed boolean NOT NULL DEFAULT false;
COMMENT ON COLUMN archive_objects.mixed IS 'The facts hold rows of more than one issue of this file: it is read again as a whole.';
