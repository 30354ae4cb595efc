// Package crash kills servers at bad moments and damages their files, under
// load and through a real mount. What had been acknowledged must be there
// afterwards, nothing may be there twice, and the application may not notice
// more than a pause.
package crash
